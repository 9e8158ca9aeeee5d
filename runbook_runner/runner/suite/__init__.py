"""Runner: runs that belong together: attempts at one run, and (eval) many cells of a matrix."""

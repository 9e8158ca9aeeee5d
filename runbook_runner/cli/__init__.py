"""Command line: the terminal edge. One module per command, thin; this package imports nothing heavy."""

import gc

# Imports make a hundred thousand objects that stay; looking through them again and again costs a tenth of a second.
gc.set_threshold(100_000)

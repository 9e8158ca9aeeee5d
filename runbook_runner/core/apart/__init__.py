"""Core, apart: work on what strangers have made, in a process of its own: it may take for ever, or all memory."""

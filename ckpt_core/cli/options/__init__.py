"""The options of a command line: references, and those of formats."""

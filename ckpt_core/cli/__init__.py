"""The command line: one module a command.

A command asks a verb and says how its answer looks; all else is shared here.
"""

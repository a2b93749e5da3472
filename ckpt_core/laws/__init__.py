"""Laws between the parts of a checkpoint; no IO.

They must hold for the tools of its format to use it.
"""

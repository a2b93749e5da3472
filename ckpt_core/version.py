"""The version of ckpt-core, and nothing else.

What is asked for it imports nothing more.
"""

__version__ = "0.1.0"

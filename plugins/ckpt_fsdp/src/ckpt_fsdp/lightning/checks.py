"""Checks a directory of Lightning's as one of DCP's.

It has nothing of its own to check.
"""

from ckpt_fsdp.dcp.checks import check as check

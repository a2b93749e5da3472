"""Checks a distributed checkpoint of Megatron's as DCP's.

It has nothing of its own to check.
"""

from ckpt_fsdp.dcp.checks import check as check

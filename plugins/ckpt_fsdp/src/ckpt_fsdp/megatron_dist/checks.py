"""A distributed checkpoint of Megatron's has nothing of its own to check, of DCP's everything."""

from ckpt_fsdp.dcp.checks import check as check

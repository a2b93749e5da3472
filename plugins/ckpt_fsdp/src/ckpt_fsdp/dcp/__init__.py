"""Format `dcp`: directories that torch.distributed.checkpoint wrote.

A table of boxes is in `.metadata` beside the shards.

Source: torch, `torch/distributed/checkpoint/metadata.py`, `filesystem.py` and `default_planner.py`.
"""

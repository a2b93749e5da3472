"""Format `dcp`: directories that torch.distributed.checkpoint wrote, a table of boxes in `.metadata` beside the shards.

Source: torch, `torch/distributed/checkpoint/metadata.py`, `filesystem.py` and `default_planner.py`.
"""

"""Format `lightning-fsdp`: checkpoints of Lightning's sharding strategies.

A checkpoint of DCP and `meta.pt` beside it.

Source: lightning `pytorch/strategies/fsdp.py` and `model_parallel.py` (save_checkpoint), `fabric/utilities/load.py`.
"""

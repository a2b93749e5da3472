"""Format `lightning-fsdp`: what Lightning's sharding strategies write, a checkpoint of DCP and `meta.pt` beside it.

Source: lightning `pytorch/strategies/fsdp.py` and `model_parallel.py` (save_checkpoint), `fabric/utilities/load.py`.
"""

"""Format `megatron-dist`: Megatron-LM's distributed checkpoints.

Files of DCP with `common.pt` and `metadata.json`.

Source: Megatron-LM `megatron/core/dist_checkpointing/core.py` (CheckpointingConfig), `serialization.py`,
`strategies/common.py` (COMMON_STATE_FNAME).
"""

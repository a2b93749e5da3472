"""Format `fsdp`: models under FSDP that Accelerate's `save_state` writes.

Source: accelerate `utils/fsdp_utils.py` (save_fsdp_model, save_fsdp_optimizer), `checkpointing.py` and
`utils/constants.py`. The Trainer of transformers saves models in the same way, among files of its own.
"""

"""Format `accelerate`: what `save_state` writes, each model, optimizer and scheduler a file, and a random state a rank.

Source: accelerate `checkpointing.py` (save_accelerator_state, load_accelerator_state), `accelerator.py` (save_state)
and `utils/constants.py`. What it writes under FSDP and DeepSpeed is of other formats.
"""

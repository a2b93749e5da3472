"""Format `accelerate`: the folder that `save_state` writes.

Each model, optimizer and scheduler is a file, and so is the random state of each rank.

Source: accelerate `checkpointing.py` (save_accelerator_state, load_accelerator_state), `accelerator.py` (save_state)
and `utils/constants.py`. What it writes under FSDP and DeepSpeed is of other formats.
"""

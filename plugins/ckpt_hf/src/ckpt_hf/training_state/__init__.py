"""Format `training-state`: checkpoints of ModularTrainer.

A model directory with everything else in one `training_state.pt`.

Source: chef-genius-ai `cli/training/checkpoint_utils.py` (save_checkpoint), and its `cli/fix_checkpoint.py` and
`cli/fix_all_checkpoints.py`, which write a state where there was none.
"""

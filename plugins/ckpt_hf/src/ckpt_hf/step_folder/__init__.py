"""Format `step-folder`: model and training state in sibling folders.

Together they are one checkpoint.

Source: lerobot `utils/train_utils.py` (save_checkpoint, save_training_state), `optim/optimizers.py`
(save_optimizer_state), `optim/schedulers.py`, `utils/random_utils.py` (save_rng_state).
"""

"""Format `step-folder`: one checkpoint whose model and training state lie in sibling folders.

Source: lerobot `utils/train_utils.py` (save_checkpoint, save_training_state), `optim/optimizers.py`
(save_optimizer_state), `optim/schedulers.py`, `utils/random_utils.py` (save_rng_state).
"""

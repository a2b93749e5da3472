"""Format `bagel`: a step of BAGEL's training.

In any of the four ways its trainers save one.

Sources: BAGEL `train/fsdp_utils.py` (fsdp_save_ckpt), and the sharded checkpoint managers of its forks.
"""

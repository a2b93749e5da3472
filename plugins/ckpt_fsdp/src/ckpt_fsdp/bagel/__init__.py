"""Format `bagel`: a step of BAGEL's training.

Its trainers save one in any of four ways.

Sources: BAGEL `train/fsdp_utils.py` (fsdp_save_ckpt), and the sharded checkpoint managers of its forks.
"""

"""Format `fsdp-ranks`: a torch file for each rank's DTensors.

Sources: verl `verl/utils/checkpoint/fsdp_checkpoint_manager.py` (save_checkpoint); accelerate `utils/fsdp_utils.py`
(save_fsdp_model and save_fsdp_optimizer without DCP).
"""

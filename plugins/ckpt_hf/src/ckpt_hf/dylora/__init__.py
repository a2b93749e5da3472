"""Format `dylora`: checkpoints of DyLoRA-MoE.

An adapter for each expert, their router, and what the Trainer keeps beside them.

Source: DyLoRA-MoE `train.py` (PeftCheckpointCallback), `dylo_moe/utils.py` (save_dylo_moe_state, save_lora_experts) and
`dylo_moe/router.py` (save). The callback deletes the model's weights that the Trainer wrote.
"""

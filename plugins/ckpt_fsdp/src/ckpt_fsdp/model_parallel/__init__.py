"""Format `model-parallel`: a file for each rank of model parallelism.

It is tensor, pipeline and expert parallelism; no file places the parts.

Which dimension each tensor was cut along is known to the model's own code, so the parts stay components of their own.

Sources: Megatron-LM `megatron/training/checkpointing.py` (get_checkpoint_name, generate_state_dict), `arguments.py`.
"""

"""Format `model-parallel`: a file for each rank of tensor, pipeline and expert parallelism, whose parts no file places.

Which dimension each tensor was cut along is known to the model's own code, so the parts stay components of their own.

Sources: Megatron-LM `megatron/training/checkpointing.py` (get_checkpoint_name, generate_state_dict), `arguments.py`.
"""

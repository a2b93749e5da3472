"""Format `deepspeed`: a tag directory of what each rank wrote, under a root with a pointer to the latest tag.

Source: DeepSpeed, `runtime/engine.py`, `runtime/zero/`, `utils/zero_to_fp32.py` and `checkpoint/ds_to_universal.py`.
"""

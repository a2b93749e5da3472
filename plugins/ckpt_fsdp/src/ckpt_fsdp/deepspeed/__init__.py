"""Format `deepspeed`: a tag directory with each rank's files.

It lies under a root with a pointer to the latest tag.

Source: DeepSpeed, `runtime/engine.py`, `runtime/zero/`, `utils/zero_to_fp32.py` and `checkpoint/ds_to_universal.py`.
"""

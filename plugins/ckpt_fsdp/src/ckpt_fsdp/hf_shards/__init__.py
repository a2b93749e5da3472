"""Format `dcp-safetensors`: boxes that DCP writes as safetensors.

There is a file of boxes a rank, which no index describes.

Source: torch `torch/distributed/checkpoint/hf_storage.py`, `_hf_utils.py`, `filesystem.py` (_write_files_from_queue).
"""

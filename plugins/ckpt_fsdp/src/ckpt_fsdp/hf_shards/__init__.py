"""Format `dcp-safetensors`: what DCP writes as safetensors, a file of boxes a rank, which no index describes.

Source: torch `torch/distributed/checkpoint/hf_storage.py`, `_hf_utils.py`, `filesystem.py` (_write_files_from_queue).
"""

"""Format `numbered-shards`: one model in numbered files.

Each has tensors of its own, and no index describes them.

`part_0.safetensors`, `part_1.safetensors`; `weights-00001-of-00003.pt`. The names that transformers gives its shards
are those of a model directory (`hf`).
"""

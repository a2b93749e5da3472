"""The safetensors format: reads its header strictly, and writes it."""

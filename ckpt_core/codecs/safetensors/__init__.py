"""The safetensors format: its header read strictly, and written."""

"""Format `peft`: adapters that PEFT saves, with their configs.

One adapter, `adapter_model.safetensors`, lies at the top, or several in folders.

Source: peft `peft_model.py` (save_pretrained). The model that they change is named in their config, and not there.
"""

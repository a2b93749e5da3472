"""Format `peft`: `adapter_model.safetensors` and its config, one adapter at the top or several in folders.

Source: peft `peft_model.py` (save_pretrained). The model that they change is named in their config, and not there.
"""

"""Format `diffusers`: pipelines, components, LoRAs and training checkpoints.

A component's average is of this format, too.

Source: diffusers `pipelines/pipeline_utils.py` (save_pretrained, model_index.json), `models/modeling_utils.py`,
`training_utils.py` (EMAModel), `loaders/lora_base.py`, and `examples/` for the folders that its trainings save.
"""

"""Format `hf`: a model directory of transformers."""

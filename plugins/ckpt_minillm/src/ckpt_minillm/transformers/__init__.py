"""Shows MiniLLM weights as a model directory of transformers."""

"""MiniLLM weights seen as a model directory of transformers."""

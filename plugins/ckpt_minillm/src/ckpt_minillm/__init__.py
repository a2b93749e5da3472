"""MiniLLM and minimind checkpoints for ckpt."""

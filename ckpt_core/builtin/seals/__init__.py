"""The plugin that checks checkpoints against their seals and repairs seals."""

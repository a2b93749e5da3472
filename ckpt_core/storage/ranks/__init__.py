"""Several processes that write one checkpoint together, under torchrun."""

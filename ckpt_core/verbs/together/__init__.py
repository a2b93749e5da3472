"""Does a step of a verb on every rank of a model."""

"""The trainer of the guide: a model, a tokenizer and a config go in."""

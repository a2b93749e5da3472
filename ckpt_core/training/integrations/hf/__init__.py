"""transformers' Trainer: exact where it was not.

What of a training would not be the same again is refused, its data keyed, its saves sealed.

Rules of the Trainer are those of transformers 5.23, `trainer.py`.
"""

"""The resumption of trainers.

The flags of a resumed training, what they mean, and what transformers' Trainer is to be told.
"""

"""A test double of a W&B server: enough for the unmodified `wandb` client to log, list, use and download artifacts.

It is no W&B, and what passes against it is not "tested against W&B": what it answers was made after the requests that
the client sends, and nothing else. It refuses what it does not know, keeps what it was told in a folder, and misbehaves
on demand.
"""

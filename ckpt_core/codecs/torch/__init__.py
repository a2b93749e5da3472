"""The files of torch.save, zip and legacy.

DCP's items and torch's programs are here as well.
"""

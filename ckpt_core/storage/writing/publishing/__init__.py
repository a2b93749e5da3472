"""Places that take a checkpoint whole, as a new version.

Such as registries: it is staged on a disk, then published.
"""

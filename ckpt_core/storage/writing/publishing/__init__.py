"""Places that take a checkpoint whole, as a new version, such as registries: staged on a disk, then published."""

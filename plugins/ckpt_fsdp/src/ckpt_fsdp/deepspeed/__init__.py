"""DeepSpeed's checkpoints: a tag directory of what each rank wrote, under a root with a pointer to the latest tag."""

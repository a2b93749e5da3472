"""What a person does with a checkpoint, one file a verb. Each is a walk from a ref to an answer, through the hooks."""

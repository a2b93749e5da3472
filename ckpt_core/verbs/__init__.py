"""The verbs: what a person does with a checkpoint.

One file a verb. Each is a walk from a ref to an answer, through the hooks.
"""

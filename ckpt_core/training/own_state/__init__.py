"""State that has no state_dict of its own.

Attributes of a model, the patience of a stop, the history of metrics.
"""

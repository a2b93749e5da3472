"""The data model of ckpt, which does no input or output.

Tensors, state, places, formats, manifests, findings, plans.
"""

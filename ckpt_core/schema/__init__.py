"""What things are: tensors, state, places, formats, manifests, findings, plans. Nothing here does input or output."""

"""The `bundle` format: a directory with a safetensors file for each component, JSON for plain state, and no pickle.

bundle.json             which components there are, and the files of each
model.safetensors       the tensors of a component, as any tool opens them
optimizer.state.json    its plain state; tensors stand in it by name

Other files are carried along. What makes it whole on a disk is its seal.
"""

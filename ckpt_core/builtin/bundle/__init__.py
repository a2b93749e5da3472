"""The `bundle` format: a directory of safetensors and JSON files.

Each component has a safetensors file, its plain state is JSON, and nothing is a pickle.

bundle.json             which components there are, and the files of each
model.safetensors       the tensors of a component, as any tool opens them
optimizer.state.json    its plain state; tensors stand in it by name

Other files are carried along. What makes it whole on a disk is its seal.
"""

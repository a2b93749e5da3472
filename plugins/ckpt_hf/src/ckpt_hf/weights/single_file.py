"""Adds one weight file as one component.

The directory holds several: the second model of Accelerate's, an adapter.
"""

from ckpt_core import Component, Profile, TensorTable
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.weights.shards import open_shard


def add_file(builder: CheckpointBuilder, kind: str, path: str, name: str = "") -> TensorTable | None:
    """Add the weights of a file, .safetensors or .bin.

    Unreadable where they are broken, and then None.
    """

    def read() -> TensorTable:
        shard = open_shard(builder.files, path)
        if shard.torch is not None:
            builder.torch_files.append(shard.torch)
            builder.findings.extend(shard.torch.findings)
        builder.add(Component(kind, shard.tensors, shard.state, name), path)
        return shard.tensors

    return builder.tried(kind, path, read, name=name, needed_for=Profile.INFERENCE)

"""One weight file as one component of a directory that holds several: the second model of Accelerate's, an adapter."""

from ckpt_core import Component, Profile, TensorTable
from ckpt_core.layouts.builder import Pieces
from ckpt_hf.weights.shards import open_shard


def add_file(pieces: Pieces, kind: str, path: str, name: str = "") -> TensorTable | None:
    """Add the weights of a file, .safetensors or .bin; unreadable where they are broken, and then None."""

    def read() -> TensorTable:
        shard = open_shard(pieces.files, path)
        if shard.torch is not None:
            pieces.torch_files.append(shard.torch)
            pieces.findings.extend(shard.torch.findings)
        pieces.add(Component(kind, shard.tensors, shard.state, name), path)
        return shard.tensors

    return pieces.tried(kind, path, read, name=name, needed_for=Profile.INFERENCE)

"""Fingerprints: digests of tensors that are equal in every format.

They are of what a tensor is, not of how it is stored.

A tensor's digest is xxh3-128 over its dtype, its shape and the digests of the 1 MiB blocks of its row-major
little-endian bytes; a component's is over its names, sorted, with the digests of their tensors. They prove against
accident, not against an adversary.
"""

from dataclasses import dataclass

from ckpt_core.reading.checkpoints import read_slabs
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.state import Array
from ckpt_core.schema.tensors import TensorEntry
from ckpt_core.storage.digests import TensorDigest, of_tensors


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The digest of a component, and those of its tensors."""

    digest: str
    tensors: dict[str, str]


def digest_tensor(checkpoint: Checkpoint, component: str, name: str, entry: TensorEntry) -> str:
    """Return the digest of a stored tensor, read in slabs."""
    digest = TensorDigest(entry.dtype, entry.shape)
    for data in read_slabs(checkpoint, component, name, entry):
        digest.update(data)
    return digest.hexdigest()


def digest_of_array(array: Array) -> str:
    """Return the digest of a small array.

    It is that of the tensor that the array is elsewhere.
    """
    digest = TensorDigest(array.dtype, array.shape)
    digest.update(array.data)
    return digest.hexdigest()


def fingerprint(checkpoint: Checkpoint, label: str) -> Fingerprint:
    """Return the fingerprint of a component.

    Aliases count under every name they have; their bytes are read once.
    """
    component = checkpoint.component(label)
    digests: dict[str, str] = {}
    for name in component.tensors:
        entry = component.tensors[name]
        same = digests.get(entry.alias_of) if entry.alias_of else None
        digests[name] = same or digest_tensor(checkpoint, component.label, name, entry)
    return Fingerprint(of_tensors(digests), digests)

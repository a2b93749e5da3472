"""Digests of a plan and its source.

A conversion that is run again must have them in common.
"""

import xxhash

from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.plans import AssetBytes, LateBytes, Literal, TensorBytes, TensorKey, WritePlan
from ckpt_core.schema.side_files.taint import marked


def digest_of_work(plan: WritePlan, checkpoint: Checkpoint, kind: LocationKind) -> str:
    """Return the `work` of a target that is to write a plan.

    Empty where the source cannot be told again.
    """
    if not checkpoint.identity():
        return ""
    return digest_of_plan(marked(plan, checkpoint) if kind is LocationKind.DIRECTORY else plan, checkpoint)


def digest_of_plan(plan: WritePlan, checkpoint: Checkpoint) -> str:
    """Return a digest that is the same for the same work.

    The same files from the same source.
    """
    digest = xxhash.xxh3_128(checkpoint.identity().encode("utf-8", "surrogatepass"))
    for file in plan.files:
        digest.update(f"\n{file.path} {file.checksums}".encode("utf-8", "surrogatepass"))
        for section in file.sections:
            digest.update(_describe(section))
            if isinstance(section, TensorBytes):  # renamed in a circle, tensors of one size make the same plan
                digest.update(_lineage(checkpoint, section.key).encode("utf-8", "surrogatepass"))
    return str(digest.hexdigest())


def _lineage(checkpoint: Checkpoint, key: TensorKey) -> str:
    """Return the source of a tensor, and its views.

    The plan does not show all of that.
    """
    return "\0".join((*checkpoint.origin_key(*key), *checkpoint.operations(*key)))


def _describe(section: Literal | TensorBytes | LateBytes | AssetBytes) -> bytes:
    match section:
        case Literal():
            return b"\n=" + section.data
        case TensorBytes():
            text = f"\ntensor {section.component} {section.name} {section.length} {section.box or ''}"
        case LateBytes():
            text = f"\nlate {section.length}"
        case AssetBytes():
            text = f"\nasset {section.path} {section.length}"
    return text.encode("utf-8", "surrogatepass")

"""The `torch` format: one file that torch.save wrote.

The file is a zip or a legacy one, and may hold anything.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl
from ckpt_core.layouts.single_file import candidates, only_path
from ckpt_core.schema.formats import Confidence, Format, FormatMatch, LoadRequest
from ckpt_core.schema.locations import LocationKind

if TYPE_CHECKING:
    from ckpt_core.layouts.steps import Count
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Checkpoint, Files, Target
    from ckpt_core.schema.manifests import Manifest
    from ckpt_core.schema.roles import Role

_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".pt2", ".pkl", ".t7", ".tar")
_SHARED = (".bin", ".pkl", ".tar")
"""Of these, the ones that other programs give their files too."""


@hookimpl
def formats() -> tuple[Format, ...]:
    return (
        Format(
            "torch",
            "one file that torch.save wrote (.pt, .pth, .bin, .ckpt, …), zip or legacy",
            writes=LocationKind.FILE,
        ),
    )


@hookimpl
def detect_format(files: "Files") -> Iterator[FormatMatch]:
    from ckpt_core.codecs.heads.torch import sniff_torch
    from ckpt_core.layouts.step_names import step_of_name

    for root, path, head in candidates(files, _SUFFIXES):
        kind, step = sniff_torch(head), step_of_name(root)
        if kind is not None:
            yield FormatMatch("torch", Confidence.LIKELY, kind.value, root, step)
        elif path.lower().endswith(_SUFFIXES) and not (root and _of_others(path, head)):
            yield FormatMatch(
                "torch", Confidence.POSSIBLE, "the name is one that torch.save is given", root, step_of_name(root)
            )


def _of_others(path: str, head: bytes) -> bool:
    """Return True if another program wrote a file beside others.

    It has a suffix that many programs use, so it is no checkpoint among them.
    """
    from ckpt_core.codecs.foreign.files import foreign

    return path.lower().endswith(_SHARED) and foreign(path, head) is not None


@hookimpl
def load(files: "Files", match: FormatMatch, request: LoadRequest) -> "StoredCheckpoint":
    from ckpt_core.codecs.torch.reader import read_torch_file
    from ckpt_core.layouts.components import components_of
    from ckpt_core.layouts.steps import count_of_state, scalar_reader
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.manifests import Manifest

    file = read_torch_file(files, only_path(files))
    count = count_of_state(file.root, scalar_reader(files, file.tensors, file.confirm))
    components = components_of(file.root, file.tensors)
    manifest = Manifest(
        components,
        metadata=dict(file.metadata),
        findings=tuple(file.findings),
        roles=tuple(_roles(count)) if any(part.kind == "progress" for part in components) else (),
        step=None if count is None else count.value,
    )
    checkpoint = StoredCheckpoint(files, match, manifest, confirm=file.confirm)
    checkpoint.checksums = file.checksums
    return checkpoint


def _roles(count: "Count | None") -> "Iterator[Role]":
    """Yield an absent progress where no step is recorded.

    A training goes on from a step: what else is kept beside the weights is no progress.
    """
    from ckpt_core.schema.roles import Presence, Role

    if count is None:
        yield Role("progress", Presence.ABSENT, note="no step and no epoch is recorded")
    elif count.value is None and not count.problem:
        note = f"{count.key} counts nothing, as where a training has ended"
        yield Role("progress", Presence.ABSENT, note=note)


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    from ckpt_core.codecs.torch.writer import plan_torch
    from ckpt_core.schema.plans import WritePlan

    plan = plan_torch(target.name, checkpoint.manifest.components, of=checkpoint)
    return target.write(WritePlan((plan,)), checkpoint)

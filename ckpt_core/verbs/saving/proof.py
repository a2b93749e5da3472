"""Proves, name by name, that what was written is what was read."""

from collections.abc import Mapping, Sequence

from ckpt_core.errors import CorruptError, UsageError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.digests import digest_of_array
from ckpt_core.reading.read_back import ReadBack
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.plans import TensorKey, Written
from ckpt_core.schema.state import Array, arrays_of, differing_paths, without_arrays
from ckpt_core.schema.text import printable


def prove(
    components: Sequence[Component],
    written: Mapping[TensorKey, Written],
    staged: StoredCheckpoint,
    found: ReadBack,
) -> None:
    """Prove, name by name, that the bytes read back went in.

    CorruptError where they are others.
    """
    wanted: dict[TensorKey, str] = {}
    for component in components:
        for name, info in component.tensors.infos():
            seen = written.get((component.label, name)) or written.get((component.label, str(info.alias_of)))
            if seen is None:
                raise unproved(name, "was not written")
            wanted[component.label, name] = seen.target
        kept = _arrays_kept(component.label, staged)
        for path, array in arrays_of(component.state):
            if kept.get(path) != array:
                wanted[component.label, path] = digest_of_array(array)
    for key, digest in wanted.items():
        if key not in found.tensors:
            raise unproved(key[1], "is not in what was written")
        if found.tensors[key] != digest:
            raise unproved(key[1], "was written with other content than was read")
    for component in components:
        prove_state(component, staged)
    for key in found.tensors:
        if key not in wanted and not _second_name(staged, key, wanted):
            raise unproved(key[1], "is in what was written and was not asked for")


def _arrays_kept(label: str, staged: StoredCheckpoint) -> dict[str, Array]:
    """Return the arrays that the format keeps as arrays.

    Other formats keep them as tensors.
    """
    states = [component.state for component in staged.manifest.components if component.label == label]
    return {path: array for state in states for path, array in arrays_of(state)}


def _second_name(staged: StoredCheckpoint, key: TensorKey, wanted: Mapping[TensorKey, str]) -> bool:
    """Return True if a tensor adds nothing but a name.

    A format may give a tied tensor the name that its readers look for.
    """
    label, name = key
    alias = staged.component(label).tensors.info(name).alias_of
    return alias is not None and (label, alias) in wanted


def prove_state(component: Component, staged: StoredCheckpoint) -> None:
    """Prove that plain state came back as it went in.

    Arrays are left out, which some formats keep as tensors.
    """
    if component.state is None:
        return
    try:
        state = staged.component(component.label).state
    except UsageError:
        raise unproved(component.label, "is not in what was written") from None
    lost = differing_paths(without_arrays(component.state), without_arrays(state))
    if lost:
        raise unproved(component.label, f"plain state {', '.join(lost[:3])} was written otherwise than it was read")


def unproved(name: str, reason: str) -> CorruptError:
    message = f"{printable(name)}: {reason}; nothing was committed"
    return CorruptError(message, code="CA002", tensor=name, hint=_AGAIN)


_AGAIN = (
    "run it again; where it comes back at the same tensor, report it with the output of ckpt plugins, and where at "
    "another, disk or memory returns other bytes than were put there: write to another disk, or on another machine"
)

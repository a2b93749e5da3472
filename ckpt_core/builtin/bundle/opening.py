"""Opens a bundle and every component that its index names.

A component's tensors come from one file and its plain state from another.
"""

from ckpt_core.builtin.bundle.index import INDEX, ComponentFiles, read_index
from ckpt_core.codecs.safetensors.reader import read_safetensors
from ckpt_core.codecs.strict_json import DuplicateKeyError, NotAnObjectError, parse_object
from ckpt_core.errors import CorruptError
from ckpt_core.layouts.builder import NO_TENSORS, CheckpointBuilder
from ckpt_core.layouts.steps import step_of_state
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.access import Files
from ckpt_core.schema.formats import FormatMatch
from ckpt_core.schema.manifests import Asset, Component
from ckpt_core.schema.side_files.reserved_names import SUMS, TAINT, TAINTED_FILE
from ckpt_core.schema.state import State, from_json, tensor_names
from ckpt_core.schema.text import printable

COMPONENT = "ckpt.component"


def read(files: Files, match: FormatMatch) -> StoredCheckpoint:
    """Return the checkpoint of a bundle.

    A component that cannot be read is a finding and an unreadable role.

    Raises:
        CorruptError: There is no index, or it is broken.
        UnsupportedFormatError: A newer version wrote it.
    """
    builder = CheckpointBuilder(files)
    listed = read_index(files)
    metadata: dict[str, str] = {}
    for one in listed:
        kind, _, name = one.label.partition(":")
        where = one.tensors or one.state or INDEX
        component = builder.tried(kind, where, lambda one=one: _component(files, one, metadata), name=name)  # type: ignore[misc]
        if component is not None:
            builder.add(component, where)
    progress = next((part.state for part in builder.components if part.label == "progress"), None)
    return builder.checkpoint(match, step=step_of_state(progress), assets=_assets(files, listed), metadata=metadata)


def _component(files: Files, one: ComponentFiles, metadata: dict[str, str]) -> Component:
    tensors = NO_TENSORS
    if one.tensors is not None:
        _require(files, one.tensors)
        file = read_safetensors(files, one.tensors)
        tensors = file.tensors
        metadata.update({key: text for key, text in file.metadata.items() if key not in (COMPONENT, TAINT)})
    state = None if one.state is None else _state(files, one.state)
    for name in tensor_names(state):
        if name not in tensors:
            raise _broken(one.state or INDEX, f"it names a tensor {printable(name, 80)} that is not there")
    kind, _, name = one.label.partition(":")
    return Component(kind, tensors, state, name)


def _state(files: Files, path: str) -> State:
    _require(files, path)
    try:
        return from_json(parse_object(files.read(path))["state"])
    except (DuplicateKeyError, NotAnObjectError, RecursionError, ValueError, TypeError, KeyError) as error:
        raise _broken(path, f"it is not the state of a component ({type(error).__name__})") from error


def _require(files: Files, path: str) -> None:
    if path not in files.entries:
        raise CorruptError(
            f"{printable(path)}: {INDEX} names this file, and it is missing; copy it from where the bundle was made",
            code="BU002",
            path=path,
        )


def _assets(files: Files, listed: list[ComponentFiles]) -> list[Asset]:
    own = {INDEX, SUMS, TAINTED_FILE} | {path for one in listed for path in (one.tensors, one.state)}
    return [Asset(path, entry.size) for path, entry in files.entries.items() if path not in own]


def _broken(path: str, reason: str) -> CorruptError:
    return CorruptError(f"{printable(path)}: {reason}; copy it again", code="BU001", path=path)

"""Opens the whole, or a folder of training state.

Core opens each part of the whole through its format's owner; such a folder is one.
"""

from ckpt_core import Asset, Files, Finding, FormatMatch, LoadRequest, Presence, Severity, StoredCheckpoint
from ckpt_core.layouts import CheckpointBuilder, step_of_state
from ckpt_hf.step_folder.detection import NAME
from ckpt_hf.step_folder.names import kind_of_name
from ckpt_hf.step_folder.state_files import add_state


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read what is in no part.

    Every kind in a folder of training state is a component.
    """
    return _read_whole(files, match) if match.parts else _read_state(files, match)


def _read_whole(files: Files, match: FormatMatch) -> StoredCheckpoint:
    builder = CheckpointBuilder(files)
    states = [part.root for part in match.parts if part.format == NAME]
    if len(states) == len(match.parts):
        builder.findings.append(_no_model(states[0]))
        builder.role("model", Presence.ABSENT, note="no folder beside the training state has a model")
    roots = [f"{part.root}/" for part in match.parts]
    beside = [Asset(path, entry.size) for path, entry in files.entries.items() if not path.startswith(tuple(roots))]
    return builder.checkpoint(match, assets=[asset for asset in beside if asset.path not in _files_of(match)])


def _files_of(match: FormatMatch) -> set[str]:
    return {part.root for part in match.parts}


def _no_model(state: str) -> Finding:
    message = f"{state}/: training state, and no folder with a model beside it"
    return Finding("PT001", Severity.ERROR, message, state, hint="copy the checkpoint again, all of its folders")


def _read_state(files: Files, match: FormatMatch) -> StoredCheckpoint:
    builder = CheckpointBuilder(files)
    add_state(builder)
    steps = (step_of_state(component.state) for component in builder.components if component.kind == "progress")
    step = next((step for step in steps if step is not None), None)
    others = [path for path in files.entries if kind_of_name(path.rpartition("/")[2]) is None]
    return builder.checkpoint(match, step=step, assets=[Asset(path, files.size(path)) for path in others])

"""Recognises a checkpoint in sibling folders by names alone."""

from collections.abc import Iterator, Mapping

from ckpt_core import Confidence, Files, FormatMatch, Part
from ckpt_core.layouts import step_of_name
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import group
from ckpt_hf.step_folder.names import kind_of_folder, kind_of_name
from ckpt_hf.weights.adapter_names import ADAPTERS

NAME = "step-folder"
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".distcp")
_OF_OTHERS = ("model_index.json", "trainer_state.json", "adapter_config.json", "latest", ".metadata")


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of such siblings.

    It has no weights of its own, a model in one folder below and training state in others. Folders that are numbered
    are steps of their own, and make no whole.
    """
    every = {folder.root: folder for folder in folders(files)}
    for folder in every.values():
        if not _has_files_of_its_own(folder):
            yield from _claim(folder, every)


def _claim(folder: Folder, every: Mapping[str, Folder]) -> Iterator[FormatMatch]:
    states = [name for name in sorted(folder.folders) if _holds_state(_child(folder, name, every))]
    if not states or any(_is_numbered(name) for name in folder.folders):
        return
    others = [name for name in sorted(folder.folders) if name not in states]
    models = [part for name in others if (part := _part(_child(folder, name, every))) is not None]
    step = step_of_name(folder.name)
    shown = " and ".join(f"{name}/" for name in states)
    parts = (*models, *_state_parts(folder, states, every))
    if len(models) == 1:
        evidence = f"{models[0].root.partition('/')[0]}/ beside {shown}"
        yield FormatMatch(NAME, Confidence.LIKELY, evidence, folder.root, step, parts)
    elif not models and step is not None:
        yield FormatMatch(NAME, Confidence.POSSIBLE, f"{shown} without a model beside", folder.root, step, parts)


def _child(folder: Folder, name: str, every: Mapping[str, Folder]) -> Folder:
    return every[f"{folder.root}/{name}".lstrip("/")]


def _has_files_of_its_own(folder: Folder) -> bool:
    return any(name.endswith(_WEIGHTS) or name in _OF_OTHERS for name in folder.files)


def _is_numbered(name: str) -> bool:
    return name[-1:].isdecimal() or step_of_name(name) is not None


def _holds_state(folder: Folder) -> bool:
    """Return True if a folder's files are training state.

    Their names tell, and none of them may be a model.
    """
    if group(folder.files) or folder.files & set(ADAPTERS):
        return False
    if ".metadata" in folder.files:
        return kind_of_folder(folder.name) is not None
    kinds = {name: kind_of_name(name) for name in folder.files}
    others = [name for name in folder.files if name.endswith(_WEIGHTS) and kinds[name] is None]
    return not others and any(kinds.values())


def _state_parts(folder: Folder, states: list[str], every: Mapping[str, Folder]) -> Iterator[Part]:
    """Yield the state folders as parts.

    Files are read here; what DCP saved, its own format reads.
    """
    for name in states:
        if ".metadata" in _child(folder, name, every).files:
            yield Part(name, kind_of_folder(name) or "optimizer")
        else:
            yield Part(name, "", NAME)


def _part(folder: Folder) -> Part | None:
    """Return the model that a folder holds.

    None where it holds none that can be told by names.
    """
    if folder.files & set(ADAPTERS):
        return Part(folder.name, "adapter")
    if group(folder.files) or ".metadata" in folder.files or "model_index.json" in folder.files:
        return Part(folder.name, "model")
    weights = [name for name in sorted(folder.files) if name.endswith(_WEIGHTS[:5])]
    return Part(f"{folder.name}/{weights[0]}", "model") if len(weights) == 1 else None

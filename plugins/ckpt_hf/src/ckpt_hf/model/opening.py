"""Opens a model directory.

Its weights are one table, its config plain state, every other file an asset.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ckpt_core import (
    Asset,
    Checksum,
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Manifest,
    Presence,
    Profile,
    Role,
    Severity,
    StoredCheckpoint,
    TensorTable,
    printable,
)
from ckpt_hf.bagel import optional_tensors
from ckpt_hf.names import CONFIG, parse, step_of
from ckpt_hf.weights.by_component import ComponentWeights, components_of, first_error, metadata_of, read_all

MAX_CONFIG = 16 << 20
"""Bytes of a config that are read: the largest there are (label maps of 20,000 classes) have less than two million."""

SEALS = ("ckpt.manifest.json", "ckpt.blocks")
"""Written about a directory, not part of what it holds."""

_TOOLS = (".git", ".cache")
"""Folders that git and huggingface_hub keep for themselves."""


class ModelCheckpoint(StoredCheckpoint):
    """An open model directory, with its opened weights.

    They are kept, so that `verify` need not read them again.
    """

    def __init__(
        self, files: Files, match: FormatMatch, manifest: Manifest, *, weights: Sequence[ComponentWeights]
    ) -> None:
        super().__init__(files, match, manifest, confirm=self._confirm_all)
        self.weights = weights
        self.checksums = self._all_checksums

    def _all_checksums(self) -> Iterator[Checksum]:
        for one in self.weights:
            for shard in one.weights.shards:
                if shard.torch is not None:
                    yield from shard.torch.checksums()

    def _confirm_all(self) -> None:
        for one in self.weights:
            one.weights.confirm()


def read(files: Files, match: FormatMatch, request: LoadRequest) -> ModelCheckpoint:
    """Read the headers of a model directory strictly.

    What is named must be there.

    Raises:
        CorruptError: A file is missing or broken; the message names it. `verify` lists all of them.
        UnsafeContentError: The index names a file outside of the directory.
        UsageError: The variant is not there, or must be chosen.
    """
    weights = read_all(files, request.options.get("variant"))
    error = first_error(weights)
    if error is not None:
        raise error
    config, complaints = read_config(files)
    components = components_of(weights)
    roles: tuple[Role, ...] = ()
    if config is not None:
        components.append(Component("config", TensorTable.of({}), config))
    else:
        roles = (
            Role("config", Presence.ABSENT, CONFIG, "the model cannot be built without", needed_for=Profile.INFERENCE),
        )
    manifest = Manifest(
        tuple(components),
        roles=roles,
        assets=tuple(assets_of(files)),
        metadata=metadata_of(weights),
        findings=(*(finding for one in weights for finding in one.findings), *complaints),
        optional=optional_tensors(files),
    )
    return ModelCheckpoint(files, match, manifest, weights=weights)


def read_config(files: Files) -> tuple[dict[str, Any] | None, list[Finding]]:
    """Return the content of config.json, and its faults.

    None where there is none that can be read.
    """
    if CONFIG not in files.entries:
        return None, []
    size = files.size(CONFIG)
    if size > MAX_CONFIG:
        return None, [_bad_config(f"{size} bytes are too many for a config")]
    try:
        config = json.loads(files.read(CONFIG).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return None, [_bad_config(f"it is not JSON ({type(error).__name__})")]
    if not isinstance(config, dict):
        return None, [_bad_config("it is not a JSON object")]
    return config, []


def assets_of(files: Files) -> list[Asset]:
    """Return every file that is carried along.

    All but weights, seals, tools' own folders and checkpoints further down.
    """
    folders = {path.partition("/")[0] for path in files.entries if "/" in path}
    holding_weights = {path.partition("/")[0] for path in files.entries if "/" in path and is_weight(path)}
    checkpoints = {folder for folder in folders if step_of(folder) is not None}
    left_out = {*_TOOLS, *holding_weights, *checkpoints}
    return [
        Asset(path, entry.size)
        for path, entry in files.entries.items()
        if not is_weight(path) and path not in SEALS and path.partition("/")[0] not in left_out
    ]


def is_weight(path: str) -> bool:
    """Return True for a weight file or an index.

    The folder that it lies in plays no part.
    """
    return parse(path.rpartition("/")[2]) is not None


def _bad_config(reason: str) -> Finding:
    message = f"{CONFIG}: {printable(reason)}; the weights can be read without it, the model cannot be built"
    return Finding("HF010", Severity.ERROR, message, CONFIG, hint="copy it again from where the model came from")

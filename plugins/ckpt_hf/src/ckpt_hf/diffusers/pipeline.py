"""Reads a pipeline of diffusers.

`model_index.json` names its components, each of which has a folder of its own.

Source: diffusers `pipelines/pipeline_utils.py` (save_pretrained, from_pretrained) and `pipeline_loading_utils.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import Presence, Profile
from ckpt_core.codecs import impostor
from ckpt_core.layouts import CheckpointBuilder
from ckpt_hf.diffusers.detection import INDEX
from ckpt_hf.folders import Folder
from ckpt_hf.names import CONFIG, group
from ckpt_hf.nested_models import COMPONENT

_VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_SETTINGS = {
    "Scheduler": "scheduler_config.json",
    "Processor": "preprocessor_config.json",
    "FeatureExtractor": "preprocessor_config.json",
}
"""The file of each component that is nothing but settings, by the end of its class's name."""


def add_pipeline(builder: CheckpointBuilder, top: Folder, every: Mapping[str, Folder]) -> None:
    """Add the index, and a role for each component.

    The weights themselves are parts.
    """
    index = builder.json_component("config", INDEX)
    for name, class_name in _components(index or {}):
        held = every[name].files if name in top.folders else set()
        if "Tokenizer" in class_name:
            _add_tokenizer(builder, name, held)
        elif not group(held):
            _add_settings(builder, name, class_name, held)


def _components(index: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the name and class of each component.

    One that the pipeline does without has null in its place.
    """
    for name, value in index.items():
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and isinstance(value[1], str):
            yield name, value[1]


def _add_tokenizer(builder: CheckpointBuilder, name: str, held: set[str]) -> None:
    vocabulary = next((file for file in _VOCABULARIES if file in held), None)
    path = f"{name}/{vocabulary or 'tokenizer_config.json'}"
    if vocabulary is None:
        builder.role("tokenizer", Presence.ABSENT, path, name=name, needed_for=Profile.INFERENCE)
        return

    def look() -> None:
        wrong = impostor(path, builder.files.head(path), builder.files.size(path))
        if wrong is not None:
            raise wrong
        builder.role("tokenizer", Presence.PRESENT, path, name=name, needed_for=Profile.INFERENCE)

    builder.tried("tokenizer", path, look, name=name, needed_for=Profile.INFERENCE)


def _add_settings(builder: CheckpointBuilder, name: str, class_name: str, held: set[str]) -> None:
    """Add a component without weights.

    It is settings where its class, or its folder, has no more; else weights are missing.
    """
    usual = next((file for end, file in _SETTINGS.items() if class_name.endswith(end)), None)
    others = () if CONFIG in held else sorted(held)  # beside config.json a model's other settings may be left
    file = usual or next((file for file in others if file.endswith("_config.json")), None)
    if file is None:
        path = f"{name}/{COMPONENT}.safetensors"
        builder.role("model", Presence.ABSENT, path, name=name, needed_for=Profile.INFERENCE)
    elif file in held:
        builder.json_component("config", f"{name}/{file}", name=name)
    else:
        builder.role("config", Presence.ABSENT, f"{name}/{file}", name=name, needed_for=Profile.INFERENCE)

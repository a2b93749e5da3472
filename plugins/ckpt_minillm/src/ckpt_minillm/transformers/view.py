"""Shows a model's weights as a transformers directory.

A config and a tokenizer's files are added.

Whatever writes such directories (`--to hf`) then writes one that AutoModelForCausalLM opens. The other way, a head that
the config ties to the embedding gets its name back, for minimind's files have both names.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpt_core import (
    Asset,
    Checkpoint,
    Component,
    Files,
    LocationKind,
    StoredCheckpoint,
    TensorEntry,
    TensorInfo,
    TensorTable,
    UsageError,
    list_files,
    load,
    option,
    printable,
)
from ckpt_minillm.merging import Box, merge_lora
from ckpt_minillm.transformers.config import config_of
from ckpt_minillm.transformers.tensors import EMBEDDINGS, HEAD
from ckpt_minillm.view_options import CONFIG_OPTIONS

TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
"""What save_pretrained of a tokenizer writes."""

_SLAB_ROWS = 256


class ModelDirectory(StoredCheckpoint):
    """A checkpoint with a config and carried files.

    The files are carried along from another folder, or there are none.
    """

    def __init__(self, base: StoredCheckpoint, config: Component | None, carried: Files | None) -> None:
        components = (*base.manifest.components, *([config] if config else []))
        assets = tuple(Asset(path, carried.size(path)) for path in _tokenizer_files(carried)) if carried else ()
        super().__init__(base.files, base.match, replace(base.manifest, components=components, assets=assets))
        self.checksums = base.checksums
        self._base, self._carried = base, carried

    def confirm(self) -> None:
        self._base.confirm()

    def read(self, component: str, name: str, *, box: Box | None = None, out: memoryview | None = None) -> memoryview:
        result = self._base.read(component, name, box=box, out=out)
        if self.progress is not None:
            self.progress.advance(result.nbytes)
        return result

    def asset_files(self) -> Files:
        return self._carried if self._carried is not None else super().asset_files()

    def identity(self) -> str:
        carried = [f"{asset.path} {asset.size}" for asset in self.manifest.assets]
        place = [str(self._carried.location)] if self._carried else []
        return "\n".join([self._base.identity(), *place, *carried])


def with_options(checkpoint: StoredCheckpoint, options: Mapping[str, Any]) -> StoredCheckpoint:
    """Return plain weights as the options show them.

    Args:
        checkpoint: What was opened.
        options: `lora`, `release`, `tokenizer` and those of `CONFIG_OPTIONS`.

    Raises:
        UsageError: An option has a value that it cannot have, or one is missing that the tensors cannot replace.
        UnsupportedFormatError: No model of transformers is like this one.
        LoadError: The LoRA does not fit.
    """
    if not options:
        return checkpoint
    if "lora" in options:
        checkpoint = merge_lora(checkpoint, load(options["lora"], accept_damage=checkpoint.files.accepts_damage))
    given = {name: options[name] for name in CONFIG_OPTIONS if name in options}
    release, tokenizer = options.get("release"), options.get("tokenizer")
    if not given and release is None and tokenizer is None:
        return checkpoint
    tensors = checkpoint.component("model").tensors
    config = config_of(tensors, given, release=release, tied=_tied(checkpoint))
    carried = _tokenizer(tokenizer) if tokenizer is not None else None
    return ModelDirectory(checkpoint, Component("config", TensorTable.of({}), config), carried)


def with_tied_head(checkpoint: Checkpoint, model: Component) -> Component:
    """Return a model with its tied head under its name.

    minimind's code looks for all names of a transformers model's tensors.

    Args:
        checkpoint: Where it is; `config.json` beside its weights says whether the head is the embedding.
        model: Its tensors.
    """
    if HEAD in model.tensors or EMBEDDINGS not in model.tensors or not _says_tied(checkpoint):
        return model
    own = model.tensors

    def entry(name: str) -> TensorEntry:
        return replace(own[EMBEDDINGS], alias_of=EMBEDDINGS) if name == HEAD else own[name]

    def info(name: str) -> TensorInfo:
        return own.info(EMBEDDINGS)._replace(alias_of=EMBEDDINGS) if name == HEAD else own.info(name)

    names = {name: name for name in (*own, HEAD)}
    return replace(model, tensors=TensorTable(names, entry=entry, info=info))


def _says_tied(checkpoint: Checkpoint) -> bool:
    if all(asset.path != "config.json" for asset in checkpoint.manifest.assets):
        return False
    try:
        config = json.loads(checkpoint.asset_files().read("config.json"))
    except ValueError:
        return False
    return isinstance(config, dict) and config.get("tie_word_embeddings") is True


def _tied(checkpoint: StoredCheckpoint) -> bool:
    """Return True if the head is the embedding.

    Its name tells, its absence, or that every byte is equal.
    """
    tensors = checkpoint.component("model").tensors
    if HEAD not in tensors or EMBEDDINGS not in tensors:
        return HEAD not in tensors
    head, embeddings = tensors.info(HEAD), tensors.info(EMBEDDINGS)
    if head.alias_of == EMBEDDINGS or embeddings.alias_of == HEAD:
        return True
    if (head.dtype, head.shape) != (embeddings.dtype, embeddings.shape):
        return False
    rows, *rest = head.shape
    boxes = [((at, *(0 for _ in rest)), (min(_SLAB_ROWS, rows - at), *rest)) for at in range(0, rows, _SLAB_ROWS)]
    return all(
        checkpoint.read("model", HEAD, box=box) == checkpoint.read("model", EMBEDDINGS, box=box) for box in boxes
    )


def _tokenizer(place: str) -> Files:
    files = list_files(place)
    if files.location.kind is LocationKind.FILE or not _tokenizer_files(files):
        wanted = ", ".join(TOKENIZER_FILES)
        raise UsageError(f"{option('tokenizer', printable(place))}: no directory with a tokenizer's files ({wanted})")
    return files


def _tokenizer_files(files: Files) -> list[str]:
    return [path for path in files.entries if path in TOKENIZER_FILES]

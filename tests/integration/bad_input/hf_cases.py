"""Model directories of Hugging Face's layout whose index, shards or links are not what they should be."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.bad_input import safetensors_cases, zip_cases
from tests.integration.bad_input.cases import Case, FoundBy
from tests.integration.bad_input.lookalike_cases import LFS
from tests.integration.bad_input.safetensors_cases import entry, table

CORRUPT, UNSAFE = (4,), (4, 7)
ONE = table({"a": entry(0, 16)}, bytes(16))
TWO = table({"b": entry(0, 60, (3, 5))}, bytes(60))
NAMES = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
MAP = {"a": NAMES[0], "b": NAMES[1]}
INDEX = "model.safetensors.index.json"


def directory(
    index: Any = ..., *, left_out: tuple[str, ...] = (), extra: dict[str, bytes] | None = None, **files: bytes
) -> Callable[[Path], Path]:
    """A directory of two shards; `index` is text, or what JSON is made of; files are named as in `extra`."""

    def build(folder: Path) -> Path:
        content = {"metadata": {"total_size": 76}, "weight_map": MAP} if index is ... else index
        text = content if isinstance(content, bytes) else json.dumps(content).encode()
        made = {INDEX: text, "config.json": b'{"architectures": ["Net"]}', NAMES[0]: ONE, NAMES[1]: TWO}
        for name, data in {**made, **(extra or {}), **files}.items():
            if name not in left_out:
                (folder / name).write_bytes(data)
        return folder

    return build


def mapped(shard: Any) -> Callable[[Path], Path]:
    """`b` is in a shard of another name; the real one stays, and a good file lies where the name leads."""
    inner = directory({"metadata": {}, "weight_map": {"a": NAMES[0], "b": shard}})

    def build(folder: Path) -> Path:
        place = folder / "model"
        place.mkdir()
        (folder / "outside.safetensors").write_bytes(TWO)
        return inner(place)

    return build


def cases() -> Iterator[Case]:
    yield Case("benign: hf: two shards", directory())
    yield Case("benign: hf: no total size", directory({"weight_map": MAP}))
    yield Case("benign: hf: one file", _one_file)
    for name, build in {**_INDEXES, **_SHARDS}.items():
        yield Case(f"hf: {name}", build, frozenset(CORRUPT))
    for name in _NAMES:
        yield Case(f"hf: a shard named {name!r:.60}", mapped(name), frozenset(UNSAFE))
    yield Case("hf: an absolute shard", _absolute, frozenset(UNSAFE))
    yield Case("hf: a shard is a pipe", _pipe, frozenset(CORRUPT))
    for target in ("/etc/passwd", "/dev/zero", "../outside.safetensors", NAMES[1], "nowhere"):
        yield Case(f"hf: a shard links to {target}", _linked(target), frozenset(CORRUPT))
    doubled = directory(extra={NAMES[1]: safetensors_cases.GOOD})
    yield Case("hf: a shard with a tensor of another one", doubled, frozenset(CORRUPT), opens=True)
    yield Case(
        "hf: a shard whose tensor is elsewhere by the index",
        directory({"weight_map": {"a": NAMES[1], "b": NAMES[0]}}),
        frozenset(CORRUPT),
        found_by=FoundBy.LAYOUT,
    )


_INDEXES: dict[str, Callable[[Path], Path]] = {
    "an index that is a list": directory([]),
    "an index that is null": directory(None),
    "an index that is text": directory(b"hello"),
    "an empty index": directory(b""),
    "an index of zeros": directory(bytes(100)),
    "an index cut short": directory(json.dumps({"weight_map": MAP}).encode()[:-9]),
    "an index that is an lfs pointer": directory(LFS),
    "an index nested 100,000 deep": directory(b'{"weight_map":' + b"[" * 100_000),
    "no weight map": directory({"metadata": {}}),
    "an empty weight map": directory({"weight_map": {}}),
    "a weight map that is a list": directory({"weight_map": ["a"]}),
    "a weight map of numbers": directory({"weight_map": {"a": 1, "b": 2}}),
    "a weight map of lists": directory({"weight_map": {"a": [NAMES[0]], "b": [NAMES[1]]}}),
    "a tensor twice in the weight map": directory(
        json.dumps({"weight_map": MAP}).replace('"b":', '"a": "x.safetensors", "b":').encode()
    ),
    "300,000 entries of shards that are missing": directory(
        {"weight_map": {f"t{i}": f"model-{i:06}-of-300000.safetensors" for i in range(300_000)}}
    ),
    "300,000 entries of tensors that are missing": directory(
        {"weight_map": {f"t{i}": NAMES[0] for i in range(300_000)}}
    ),
    "an index that names a tensor that is nowhere": directory({"weight_map": {**MAP, "c": NAMES[1]}}),
}
_SHARDS: dict[str, Callable[[Path], Path]] = {
    "the second shard missing": directory(left_out=(NAMES[1],)),
    "both shards missing": directory(left_out=NAMES),
    "no index, and a shard missing": directory(left_out=(INDEX, NAMES[1])),
    "a shard cut short": directory(extra={NAMES[1]: TWO[:-1]}),
    "a shard that is empty": directory(extra={NAMES[1]: b""}),
    "a shard that is an lfs pointer": directory(extra={NAMES[1]: LFS}),
    "a shard of zeros": directory(extra={NAMES[1]: bytes(len(TWO))}),
    "a shard that is a torch file": directory(extra={NAMES[1]: zip_cases.GOOD}),
    "the same shard twice": directory(extra={NAMES[1]: ONE}),
}
_NAMES: tuple[Any, ...] = (
    "../outside.safetensors",
    "..",
    ".",
    "",
    "./../outside.safetensors",
    "x/../../outside.safetensors",
    "..\\outside.safetensors",
    "/dev/zero",
    "/etc/passwd",
    "https://example.com/x.safetensors",
    "file:///etc/passwd",
    "s3://bucket/x.safetensors",
    "hf::https://x",
    "model-\0.safetensors",
    "\x1b[2J.safetensors",
    INDEX,
    "config.json",
    "m" * (1 << 20),
    "~/x.safetensors",
)


def _one_file(folder: Path) -> Path:
    (folder / "config.json").write_bytes(b"{}")
    (folder / "model.safetensors").write_bytes(ONE)
    return folder


def _absolute(folder: Path) -> Path:
    return mapped(str(folder / "outside.safetensors"))(folder)


def _pipe(folder: Path) -> Path:
    directory(left_out=(NAMES[1],))(folder)
    os.mkfifo(folder / NAMES[1])
    return folder


def _linked(target: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        place = folder / "model"
        place.mkdir()
        (folder / "outside.safetensors").write_bytes(TWO)
        directory(left_out=(NAMES[1],))(place)
        (place / NAMES[1]).symlink_to(target)
        return place

    return build

"""Seals beside good files that are hostile or broken: they are read by `verify`, and nothing in them is trusted."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.bad_input import safetensors_cases
from tests.integration.bad_input.cases import Case, FoundBy


def cases() -> Iterator[Case]:
    for name, content in _CONTENTS.items():
        yield Case(f"seal: {name}", _beside(content), frozenset((4,)), found_by=FoundBy.LAYOUT, opens=True)
    for name, make in {"a pipe": os.mkfifo, "a directory": os.mkdir, "a link to /dev/zero": _link("/dev/zero")}.items():
        yield Case(f"seal: {name}", _placed(make), frozenset((4,)), found_by=FoundBy.LAYOUT, opens=True)


def _beside(content: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / "model.safetensors.ckpt.json").write_bytes(content)
        (folder / "model.safetensors").write_bytes(safetensors_cases.GOOD)
        return folder / "model.safetensors"

    return build


def _placed(make: Callable[[Path], None]) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        make(folder / "model.safetensors.ckpt.json")
        (folder / "model.safetensors").write_bytes(safetensors_cases.GOOD)
        return folder / "model.safetensors"

    return build


def _link(target: str) -> Callable[[Path], None]:
    return lambda place: place.symlink_to(target)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


_CONTENTS = {
    "empty": b"",
    "text": b"hello",
    "zeros": bytes(100),
    "a list": b"[]",
    "null": b"null",
    "an empty object": b"{}",
    "another schema": _json({"schema": "evil/1"}),
    "nested 100,000 deep": b'{"a":' + b"[" * 100_000,
    "a number of a million digits": b'{"schema": ' + b"9" * 1_000_000 + b"}",
    "not UTF-8": b'{"\xff": 1}',
}

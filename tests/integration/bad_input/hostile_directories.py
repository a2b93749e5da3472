"""Directories of every layout in which somebody wrote a file: JSON and pickles that lie, flood, or ask to run code."""

import json
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.integration.bad_input.cases import marker_of
from tests.integration.bad_input.clean_layouts import Layout
from tests.integration.bad_input.directory_cases import REFUSALS, VERIFY, Damaged, changed, holding
from tests.integration.bad_input.pickle_bytes import call, glob, pickled
from tests.integration.bad_input.trained_parts import as_json
from tests.integration.bad_input.zip_cases import with_pickle

_PICKLED = (".bin", ".pkl", ".pt", ".pth")
_NOT_OBJECTS = {"a list": b"[]", "null": b"null", "a number": b"1", "text": b'"x"', "nested": b"[" * 100_000}
_TEXTS = {
    "escape sequences": "\x1b[2J\x1b]0;x\x07\x9b31m",
    "line ends": "a\nckpt: ok\r\n\u2028b",
    "direction marks": "\u202egpj.\u2066x",
    "half a character": "\ud800",
    "NUL": "a\0b",
    "a way out": "../../../../../../../etc/passwd",
    "an absolute path": "/dev/zero",
    "a URL": "file:///etc/passwd",
    "a megabyte": "m" * (1 << 20),
}
_NUMBERS = {
    "NaN": b"NaN",
    "infinity": b"1e999",
    "minus one": b"-1",
    "two to the 63rd": b"9223372036854775808",
    "a trillion": b"1000000000000",
    "5,000 digits": b"9" * 5000,
    "a list": b"[]",
    "null": b"null",
    "an object": b'{"a": {}}',
}
_CROWD = 100_000


def cases(layout: Layout) -> Iterator[Damaged]:
    """Every case of a layout; names are unique."""
    for path, content in layout.files.items():
        if path.endswith(".json"):
            yield from _of_json(layout, path, json.loads(content))
        elif path.endswith((*_PICKLED, ".metadata")):
            yield from _of_pickle(layout, path)
        if path.endswith(".metadata"):
            yield from _of_places(layout, path, content)
    if layout.format in ("hf-trainer", "dcp", "minillm"):
        yield Damaged(f"{layout.format}: 100,000 empty files beside", layout, _crowded(layout), clean=True)


def _of_json(layout: Layout, path: str, content: dict[str, Any]) -> Iterator[Damaged]:
    for what, data in _NOT_OBJECTS.items():
        refused = frozenset() if path in _WITHOUT_A_READER else VERIFY
        yield _holds(layout, path, f"{what} in its place", partial(bytes, data), refused)
    for what, make in _FLOODS.items():
        yield _holds(layout, path, what, partial(make, content))
    for what, text in _TEXTS.items():
        yield _holds(layout, path, f"texts of {what}", lambda text=text: as_json(_texts(content, text)))
        yield _holds(layout, path, f"a name of {what}", lambda text=text: as_json({**content, text: 1}))
    for what, number in _NUMBERS.items():
        yield _holds(layout, path, f"numbers of {what}", partial(_with_number, content, number))


def _crowd(content: dict[str, Any]) -> bytes:
    names = {f"layers.{i}.weight": "model-00001-of-00002.safetensors" for i in range(300_000)}
    return as_json({**content, "weight_map": names})


def _with_number(content: dict[str, Any], number: bytes) -> bytes:
    return as_json(_numbers(content, "@@")).replace(b'"@@"', number)


_FLOODS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "300,000 entries": _crowd,
    "50 MB": lambda content: as_json({**content, "log_history": [{"x": "y" * 1000}] * 50_000}),
    "every key twice": lambda content: as_json(content)[:-1] + b", " + as_json(_numbers(content, 7))[1:],
    "nested below": lambda content: as_json(content)[:-1] + b', "deep": ' + b'{"a":' * 100_000 + b"}" * 100_001,
}

_WITHOUT_A_READER = ("generation_config.json", "tokenizer.json", "fsdp_config.json", "unet/config.json")
"""Carried along: whether they are JSON is looked at, not what they say."""


def _holds(
    layout: Layout, path: str, what: str, make: Callable[[], bytes], refused: frozenset[str] = frozenset()
) -> Damaged:
    def build(place: Path) -> None:
        changed(layout, path, holding(make()))(place)

    return Damaged(f"{layout.format}: {path}: {what}", layout, build, refused, about=Path(path).name)


def _texts(value: Any, text: str) -> Any:
    """The same with other texts; keys stay."""
    match value:
        case dict():
            return {key: _texts(item, text) for key, item in value.items()}
        case list():
            return [_texts(item, text) for item in value]
    return text if isinstance(value, str) else value


def _numbers(value: Any, number: Any) -> Any:
    """The same with other numbers."""
    match value:
        case dict():
            return {key: _numbers(item, number) for key, item in value.items()}
        case list():
            return [_numbers(item, number) for item in value]
    return number if isinstance(value, int | float) else value


def _of_pickle(layout: Layout, path: str) -> Iterator[Damaged]:
    refused = VERIFY | ({"convert"} if layout.needs(path) else frozenset())
    for what, stream in _STREAMS.items():
        yield Damaged(
            f"{layout.format}: {path}: {what}",
            layout,
            lambda place, stream=stream: _with_stream(layout, path, place, stream(str(marker_of(place)))),
            refused,
            exits=REFUSALS | {8},
        )


def _with_stream(layout: Layout, path: str, place: Path, stream: bytes) -> None:
    content = stream if path.endswith(".metadata") else with_pickle(stream)
    changed(layout, path, holding(content))(place)


_STREAMS: dict[str, Callable[[str], bytes]] = {
    "runs code": lambda marker: pickled(call(glob("os.system"), f"touch {marker}")),
    "runs code in a value": lambda marker: pickled({"step": call(glob("subprocess.call"), ["touch", marker])}),
    "a memo index of 2**31": lambda _: b"\x80\x02Nr\xff\xff\xff\x7f.",
    "nested a million deep": lambda _: b"\x80\x02N" + b"\x85" * 1_000_000 + b".",
    "nothing": lambda _: b"",
}


def _of_places(layout: Layout, path: str, content: bytes) -> Iterator[Damaged]:
    """DCP's metadata that says its data is elsewhere."""
    refused = VERIFY | ({"convert"} if layout.needs(path) else frozenset())
    for what, name in {**_TEXTS, "the metadata itself": ".metadata", "nothing": "", "here": "."}.items():
        metadata = pickle.loads(content)
        for place in metadata.storage_data.values():
            place.relative_path = name
        try:
            data = pickle.dumps(metadata)
        except UnicodeEncodeError:
            continue
        yield Damaged(
            f"{layout.format}: {path}: its data is at {what}",
            layout,
            changed(layout, path, holding(data)),
            refused,
        )


def _crowded(layout: Layout) -> Callable[[Path], object]:
    def build(place: Path) -> None:
        folder = layout.write(place, layout.files)
        for number in range(_CROWD):
            (folder / f"part-{number:06}").touch()

    return build

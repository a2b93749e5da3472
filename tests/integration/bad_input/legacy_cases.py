"""Files in torch's layout before 1.6, broken in each of their parts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.integration.bad_input.cases import Case, FoundBy, file_case
from tests.integration.bad_input.payloads import Payload, payloads
from tests.integration.bad_input.pickle_bytes import Raw, call, glob, pickled, storage, tensor

CORRUPT = (4,)
MAGIC = 0x1950A86A20F9469CFC6C
FACTS = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def legacy(
    value: Any,
    keys: Any = (),
    storages: bytes = b"",
    *,
    magic: Any = MAGIC,
    protocol: Any = 1001,
    facts: Any = None,
) -> bytes:
    """The five pickles, then the storages."""
    parts = (magic, protocol, FACTS if facts is None else facts, value, list(keys) if isinstance(keys, tuple) else keys)
    return b"".join(map(pickled, parts)) + storages


def held(numel: int, data: bytes) -> bytes:
    """A storage: its number of elements, its bytes."""
    return numel.to_bytes(8, "little", signed=True) + data


def old(key: str = "10", numel: Any = 4, **more: Any) -> Raw:
    return storage(key, numel, view=None, **more)


TENSORS = Raw(tensor(old()))
VALUE = {"a": TENSORS, "b": tensor(old("11", 15), 0, (3, 5), (5, 1))}
STORAGES = held(4, bytes(range(16))) + held(15, bytes(range(100, 160)))
GOOD = legacy(VALUE, ("10", "11"), STORAGES)


def cases() -> Iterator[Case]:
    for name, content, says in (*_frames(), *_parts(), *_storages()):
        yield file_case(f"legacy: {name}", content, CORRUPT, says, file="model.pt")
    for name, content, says in _counts():
        yield file_case(f"legacy: {name}", content, CORRUPT, says, file="model.pt", found_by=FoundBy.LAYOUT)
    text = legacy(VALUE, ("10", "11"), STORAGES, magic=str(MAGIC))  # so that nothing shows that torch wrote it
    yield file_case("legacy: a magic number that is a text", text, (6,), "a plain pickle", file="model.pt")
    number = file_case("legacy: only a number", legacy(7), CORRUPT, "no tensor", file="m.pt", found_by=FoundBy.LAYOUT)
    yield replace(number, opens=True)
    chosen = [payload for payload in payloads() if payload.name in _PAYLOADS]
    assert len(chosen) == len(_PAYLOADS)
    for payload in chosen:
        yield file_case(f"legacy: runs code: {payload.name}", _carrier(payload), (7,), "execute", file="model.pt")
    for part in ("magic", "protocol", "facts", "keys", "device"):
        yield file_case(f"legacy: runs code: in its {part}", _inside(part), (4, 7), file="model.pt")


_PAYLOADS = {
    "os.system",
    "builtins.eval",
    "subprocess.Popen",
    "functools.partial",
    "operator.methodcaller",
    "pkgutil.resolve_name",
    "REDUCE of STACK_GLOBAL",
    "NEWOBJ",
    "NEWOBJ_EX",
    "BUILD with __setstate__",
    "value thrown away",
    "as a key of a dict",
    "torch.storage._load_from_bytes",
    "numpy's runstring",
    "torch._utils with another function",
    "os._exit",
    "sys.exit",
    "map and list",
    "inside a frame",
    "commands.getoutput of Python 2",
}


def _carrier(payload: Payload) -> Any:
    def content(marker: Path) -> bytes:
        return legacy({"a": TENSORS, "x": payload.body(str(marker))}, ("10",), held(4, bytes(16)))

    return content


def _inside(part: str) -> Any:
    def content(marker: Path) -> bytes:
        evil = call(glob("os.system"), f"touch {marker}")
        if part == "device":
            location = Raw(b"(" + b"".join(pickled(x)[2:-1] for x in ("storage", glob("torch.FloatStorage"), "10")))
            pid = Raw(location + evil + pickled(4)[2:-1] + b"NtQ")
            return legacy({"a": tensor(pid)}, ("10",), held(4, bytes(16)))
        if part == "keys":
            return legacy(VALUE, [evil], STORAGES)
        return legacy(VALUE, ("10", "11"), STORAGES, **{part: evil})

    return content


def _frames() -> Iterator[tuple[str, bytes, str]]:
    yield "half of it", GOOD[: len(GOOD) // 2], "model.pt"
    yield "the magic number only", pickled(MAGIC), "model.pt"
    yield "three pickles only", b"".join(map(pickled, (MAGIC, 1001, FACTS))), "model.pt"
    yield "no storages", legacy(VALUE, ("10", "11")), "truncated"
    yield "the last byte missing", GOOD[:-1], "truncated"
    yield (
        "a hundred million storages claimed",
        legacy({"a": tensor(old(numel=100_000_000))}, ("10",), held(100_000_000, b"")),
        "truncated",
    )
    yield "no value", b"".join(map(pickled, (MAGIC, 1001, FACTS))) + b"\x80\x02." + pickled([]), "pickle"


def _parts() -> Iterator[tuple[str, bytes, str]]:
    yield "a magic number one off", legacy(VALUE, ("10", "11"), STORAGES, magic=MAGIC + 1), "model.pt"
    for protocol in (0, 1000, 1002, "1001", None, 1001.0, True):
        yield f"protocol {protocol!r}", legacy(VALUE, ("10", "11"), STORAGES, protocol=protocol), "protocol"
    for facts in (1, "x", [1], (), True):
        yield f"facts that are {facts!r}", legacy(VALUE, ("10", "11"), STORAGES, facts=facts), "machine"
    for keys in ({}, "1011", [10, 11], [None], {"10": 1}):
        yield f"keys that are {keys!r}", legacy(VALUE, keys, STORAGES), "storages"
    yield "a key twice", legacy(VALUE, ("10", "10"), STORAGES), "storages"
    yield "a key of no tensor", legacy(VALUE, ("10", "11", "12"), STORAGES + held(4, bytes(16))), "12"
    yield "a key too few", legacy(VALUE, ("10",), STORAGES), "missing"
    yield "no keys", legacy(VALUE, (), STORAGES), "missing"


def _counts() -> Iterator[tuple[str, bytes, str]]:
    """What stands before the bytes of each storage; it is read with them, not when the file is opened."""
    one = {"a": TENSORS}
    for numel in (5, 3, 0, -1, 1 << 62, -(1 << 63)):
        yield f"a storage that says it has {numel} elements", legacy(one, ("10",), held(numel, bytes(16))), "elements"
    yield "storages in another order", legacy(VALUE, ("11", "10"), STORAGES), "elements"


def _storages() -> Iterator[tuple[str, bytes, str]]:
    yield "a tensor beyond its storage", legacy({"a": tensor(old(), 1)}, ("10",), held(4, bytes(16))), "storage"
    yield (
        "a tensor larger than its storage",
        legacy({"a": tensor(old(), 0, (5,))}, ("10",), held(4, bytes(16))),
        "storage",
    )
    yield "a storage of two sizes", legacy([TENSORS, tensor(old(numel=5))], ("10",), held(4, bytes(16))), "two sizes"
    for view in (("k", 2, 3), ("k", -1, 2), ("k", 0, 1 << 62), ("k", "0", 2), ("k", 0), (), "view", 7):
        value = {"a": tensor(storage("10", 4, view=view), 0, (2,))}
        yield f"a view {view!r}", legacy(value, ("10",), held(4, bytes(16))), "model.pt"

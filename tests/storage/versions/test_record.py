"""Records: what is written is read, and what lies is refused by the name of the field."""

import json

import pytest

from ckpt_core.errors import CorruptError
from ckpt_core.storage.versions.names import record_key
from ckpt_core.storage.versions.record import PRUNED, VersionRecord, parse_record

ID = "a" * 32
SOUND = VersionRecord(
    3,
    content="c" * 64,
    table=f"tables/{ID}",
    table_digest="d" * 64,
    step=-1,
    metrics={"loss": float("nan"), "acc": 1},
    tags=("one",),
    lineage={"source": "a", "step": 2, "final": True},
    indexes=(f"indexes/{ID}-{ID}",),
    prunings=(f"prunings/{ID}.json",),
)


def test_a_record_is_what_was_written():
    assert parse_record(SOUND.encoded(), record_key(3)).encoded() == SOUND.encoded().replace(b'"acc":1', b'"acc":1.0')
    assert parse_record(VersionRecord(3, PRUNED).encoded(), record_key(3)).kind == PRUNED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", 4),
        ("number", "3"),
        ("number", 3.0),
        ("kind", ["version"]),
        ("content", "../x"),
        ("table", "tables/../../secret"),
        ("table", "/etc/passwd"),
        ("table", f"objects/{ID}/pack-000000"),
        ("table", ""),
        ("table_digest", 5),
        ("place", "socket"),
        ("format", "a\nb"),
        ("format", "\ud800"),
        ("step", "7"),
        ("metrics", []),
        ("metrics", {"loss": "low"}),
        ("metrics", {"loss": 10**400}),
        ("tags", "one"),
        ("tags", [1]),
        ("size", -1),
        ("new", True),
        ("tensors", 1 << 64),
        ("created", 1e300),
        ("created", float("nan")),
        ("created", 10**400),
        ("source", None),
        ("lineage", {"source": {}}),
        ("indexes", ["indexes/a/../../b"]),
        ("indexes", None),
        ("prunings", [f"tables/{ID}"]),
    ],
)
def test_a_field_that_holds_something_else_is_one_clear_line(name, value):
    data = json.dumps({**json.loads(SOUND.encoded()), name: value}).encode()
    with pytest.raises(CorruptError, match="not the record of a version") as raised:
        parse_record(data, record_key(3))
    assert raised.value.code == "VS002"
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_record_is_one_clear_line(data):
    with pytest.raises(CorruptError):
        parse_record(data, record_key(3))

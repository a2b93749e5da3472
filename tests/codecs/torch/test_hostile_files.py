"""Hostile and damaged torch files: each is one clear error, in time, and nothing in it runs."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckpt_core import CkptError, UnsafeContentError

SETTINGS = settings(
    max_examples=int(os.environ.get("CKPT_TEST_EXAMPLES", "150")),
    deadline=5000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Attack:
    """Calls `os.system` when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", ["value", "item", "state", "hook"])
def test_a_call_in_a_checkpoint_is_refused_and_not_run(opened, saved, tmp_path, protocol, legacy, place):
    attack = Attack(f"touch {tmp_path}/mark")
    module = torch.nn.Linear(1, 1)
    module.extra = attack
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.extra = attack
    values = {"value": attack, "item": {"w": torch.ones(1), "x": [attack]}, "state": module, "hook": parameter}
    content = saved(values[place], protocol=protocol, legacy=legacy)
    with pytest.raises(UnsafeContentError, match=r"x\.pth: asks for posix\.system, which would run code") as refused:
        opened(content)
    assert refused.value.exit_code == 7
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("stage", ["magic", "protocol", "machine", "keys"])
def test_a_call_outside_of_the_main_pickle_of_a_legacy_file_is_refused(opened, tmp_path, stage):
    values = {"magic": 0x1950A86A20F9469CFC6C, "protocol": 1001, "machine": {}, "value": {}, "keys": []}
    streams = {name: pickle.dumps(value, 2) for name, value in values.items()}
    streams[stage] = streams["magic"][:-1] + b"0" + pickle.dumps(Attack(f"touch {tmp_path}/mark"), 2)[2:]
    with pytest.raises(UnsafeContentError):
        opened(b"".join(streams.values()))
    assert not (tmp_path / "mark").exists()


def rich_value():
    return {
        "w": torch.arange(20.0).reshape(4, 5).t(),
        "p": torch.nn.Parameter(torch.ones(3)),
        "tied": [torch.arange(4)[1:]] * 2,
        "array": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "scalar": np.float32(3),
        "plain": [1, 2.5, None, True, "x", b"yy", (1, (2,)), {3}],
        "ordered": OrderedDict(a=1),
        "u16": torch.zeros(2, dtype=torch.uint16),
        "module": torch.nn.Linear(2, 2),
    }


@pytest.fixture(scope="module")
def contents(saved):
    torch.manual_seed(0)
    kinds = [(legacy, protocol) for legacy in (False, True) for protocol in (2, 4, 5)]
    return [saved(rich_value(), legacy=legacy, protocol=protocol) for legacy, protocol in kinds]


@pytest.fixture(scope="module")
def streams(contents):
    return [zipfile.ZipFile(io.BytesIO(content)).read("archive/data.pkl") for content in contents[:3]]


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "repeat"]),
        st.integers(0, 1 << 20),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)
OPCODES = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert"]),
        st.integers(0, 1 << 20),
        st.lists(
            st.sampled_from(b"()}]NRQbestua01\x81\x85\x86\x87\x8f\x90\x91\x92\x93\x94hqK."), min_size=1, max_size=4
        ).map(bytes),
    ),
    min_size=1,
    max_size=8,
)


def edited(content, edits):
    result = bytearray(content)
    for kind, where, piece in edits:
        at = where % (len(result) + 1)
        if kind == "set":
            result[at : at + len(piece)] = piece[: max(0, len(result) - at)]
        elif kind == "insert":
            result[at:at] = piece
        elif kind == "delete":
            del result[at : at + len(piece)]
        else:
            result[at:at] = result[max(0, at - 8 * len(piece)) : at]
    return bytes(result)


def read_all(opened, content):
    found = opened(content)
    findings = found.check_bytes()
    for name, info in found.file.tensors.infos():
        assert info.shape == found.file.tensors[name].shape
    return found, findings


@SETTINGS
@given(which=st.integers(0, 5), edits=EDITS)
def test_an_edited_file_reads_or_is_one_of_our_errors(opened, contents, which, edits):
    try:
        read_all(opened, edited(contents[which], edits))
    except CkptError as error:
        assert error.code
        assert "\n" not in error.message


@SETTINGS
@given(which=st.integers(0, 2), edits=EDITS | OPCODES)
def test_an_edited_pickle_reads_or_is_one_of_our_errors(opened, zipped, streams, which, edits):
    content = zipped(edited(streams[which], edits), **{f"data__{key}": bytes(200) for key in range(8)})
    try:
        read_all(opened, content)
    except CkptError as error:
        assert error.code


@SETTINGS
@given(which=st.integers(0, 2), at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_zip_is_told_or_changes_nothing(opened, contents, which, at, bit):
    original = contents[which]
    content = bytearray(original)
    content[at % len(content)] ^= 1 << bit
    try:
        found, findings = read_all(opened, bytes(content))
    except CkptError:
        return
    if any(finding.code == "ZP004" for finding in findings):
        return
    expected = opened(original, "original.pth")
    assert found.file.root == expected.file.root
    for name in expected.file.tensors:
        assert found.data(name) == expected.data(name)


def test_truncation_at_every_record_is_refused(opened, contents):
    for content in contents[:3]:
        starts = [info.header_offset for info in zipfile.ZipFile(io.BytesIO(content)).infolist()]
        for end in [*starts[1:], content.index(b"PK\x01\x02"), len(content) - 22, len(content) - 1]:
            with pytest.raises(CkptError):
                opened(content[:end])

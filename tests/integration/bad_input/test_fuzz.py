"""Any bytes at all, and any change of good ones, get an answer: tensors, or an error of ours."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration.bad_input import legacy_cases, safetensors_cases, zip_cases
from tests.integration.bad_input.damage import ACCEPTED, tensors, verdict
from tests.integration.bad_input.pickle_cases import with_pickle

FORMATS = {"x.safetensors": safetensors_cases.GOOD, "x.pth": zip_cases.GOOD, "x.pt": legacy_cases.GOOD}
OPCODES = b"(0123.2FNIJKMTUVXRabcdeghijlopqrstu}])GB\x80\x81\x82" + bytes(range(0x85, 0x99))
_FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
_MANY = settings(_FEW, max_examples=5000)

fragments = st.one_of(
    st.sampled_from([bytes([code]) for code in OPCODES]),
    st.sampled_from(
        [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n"]
    ),
    st.sampled_from(
        [b"X\x07\0\0\0storage", b"X\x01\0\0\x000", b"K\x04\x85", b"K\x01\x85", b"q\x01h\x01", b"cos\nsystem\n"]
    ),
    st.binary(max_size=4),
)
streams = st.lists(fragments, max_size=40).map(lambda parts: b"\x80\x02" + b"".join(parts) + b".")
edits = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.binary(min_size=0, max_size=8), st.integers(0, 8)), min_size=1, max_size=4
)


def edited(content, changes):
    for at, put, removed in changes:
        start = at % (len(content) + 1)
        content = content[:start] + put + content[start + removed :]
    return content


def answered(place, content):
    """The verdict, after reading everything where the file was accepted."""
    found = verdict(place, content)
    if found == ACCEPTED:
        tensors(place)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", FORMATS)
@_FEW
@given(changes=edits)
def test_edited_files_get_an_answer(place, name, changes):
    answered(place / name, edited(FORMATS[name], changes))


@_FEW
@given(stream=streams)
@example(stream=b"\x80\x02]q\x00h\x00a.")
def test_any_opcodes_get_an_answer(place, stream):
    assert answered(place / "x.pth", with_pickle(stream))[0] in (0, 4, 7, 8)


@_FEW
@given(content=st.binary(max_size=300))
def test_any_bytes_get_an_answer(place, content):
    assert answered(place / "x.pth", content)[0] in (4, 6)


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
@_MANY
@given(changes=edits)
def test_many_edited_files_get_an_answer(place, name, changes):
    answered(place / name, edited(FORMATS[name], changes))


@pytest.mark.long
@_MANY
@given(stream=streams)
def test_many_opcodes_get_an_answer(place, stream):
    assert answered(place / "x.pth", with_pickle(stream))[0] in (0, 4, 7, 8)


@pytest.mark.long
@_MANY
@given(
    prefix=st.sampled_from([b"PK\x03\x04", b"\x80\x02\x8a\x0a", (60).to_bytes(8, "little") + b"{", b""]),
    rest=st.binary(max_size=400),
)
def test_many_bytes_get_an_answer(place, prefix, rest):
    assert answered(place / "x.pth", prefix + rest)[0] in (4, 6, 7, 8)

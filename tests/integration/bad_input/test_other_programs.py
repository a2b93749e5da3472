"""Anything at all behind the first bytes of another program's file gets an answer, and never a failure of ours."""

import io
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckpt_core.cli.main import main
from ckpt_core.codecs.foreign.signs import MAGICS

_STARTS = [bytes(magic.at) + magic.bytes for magic in MAGICS]
_STARTS += [
    b"\x08\x07\x12",
    b"\x0a\x10\x0a",
    b"\x81\xa1a",
    b"\xde\0\1\xa1",
    b"\x1f\x8b\x08",
    b"x\x9c",
    b"PK\x03\x04",
    b"\x80\x04",
]
_NAMES = ("x.bin", "x.pt", "x.safetensors", "x.onnx", "x.h5", "x", "._x.pt", "x.pdparams")
_FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def answered(place, content):
    place.write_bytes(content)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["inspect", "--json", str(place)])
    assert code in (0, 4, 6, 7, 8), (code, out.getvalue(), err.getvalue())
    assert "Traceback" not in out.getvalue() + err.getvalue()


contents = {"start": st.sampled_from(_STARTS), "rest": st.binary(max_size=600), "name": st.sampled_from(_NAMES)}


@_FEW
@given(**contents)
def test_any_bytes_behind_a_sign_get_an_answer(tmp_path_factory, start, rest, name):
    answered(tmp_path_factory.getbasetemp() / name, start + rest)


@pytest.mark.long
@settings(_FEW, max_examples=5000)
@given(**contents)
def test_many_bytes_behind_a_sign_get_an_answer(tmp_path_factory, start, rest, name):
    answered(tmp_path_factory.getbasetemp() / name, start + rest)


@pytest.mark.parametrize("start", _STARTS)
def test_a_sign_alone_gets_an_answer(tmp_path, start):
    answered(tmp_path / "x.pt", start)

"""The tensors of a dangerous file are taken out without running anything, and nothing behind a dangerous call is."""

import functools
import os
import re
import shlex

import pytest
import torch

import ckpt_core
from ckpt_core.errors import UnsafeContentError, UsageError
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal

WEIGHT = torch.arange(6.0).reshape(2, 3)


class Call:
    """What is pickled as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def _bad(tmp_path, **more):
    mark = tmp_path / "executed"
    path = tmp_path / "bad.pth"
    shared = torch.ones(3)
    hostile = {"a": WEIGHT, "b": shared, "x": Call(os.system, f"touch {mark}")}
    torch.save({"model": hostile | {key: make(shared) for key, make in more.items()}}, path)
    return path, mark


def _tensors(path):
    opened = ckpt_core.load(str(path))
    return {name: opened for component in opened.manifest.components for name in component.tensors}


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, {"a", "b"}),
        ({"y": lambda shared: Call(eval, shared)}, {"a"}),
        ({"y": lambda shared: Call(eval, {"deep": [torch.zeros(2)]})}, {"a", "b"}),
        ({"y": lambda shared: Call(os.system, [shared])}, {"a"}),
        ({"y": lambda shared: Call(eval, shared[1:]), "v": lambda shared: shared[:2]}, {"a"}),
        ({"y": lambda shared: Call(functools.partial(print, 1), shared)}, {"a"}),
        ({"y": lambda shared: {"c": torch.zeros(1), "d": Call(exec, "1")}}, {"a", "b", "y.c"}),
    ],
)
def test_tensors_are_taken_and_nothing_behind_a_dangerous_call(tmp_path, more, kept):
    path, mark = _bad(tmp_path, **more)
    done = ckpt_core.convert(str(path), str(tmp_path / "out.safetensors"), extract=True)
    assert set(_tensors(tmp_path / "out.safetensors")) == kept
    assert not mark.exists()
    assert any("posix.system" in line for line in done.forecast.set_aside)
    seal = read_seal(list_files(str(tmp_path / "out.safetensors")))
    assert set(seal.provenance["tainted"].values()) == {"extracted"}
    assert any("x" in line for line in seal.provenance["left_out"])


def test_what_was_extracted_is_never_complete(tmp_path):
    path, _ = _bad(tmp_path)
    ckpt_core.convert(str(path), str(tmp_path / "out.safetensors"), extract=True)
    report = ckpt_core.verify(str(tmp_path / "out.safetensors")).report
    assert "IN001" in [finding.code for finding in report.findings]
    assert not report.ok


def test_another_target_is_refused_with_the_reason(tmp_path):
    path, _ = _bad(tmp_path)
    with pytest.raises(UsageError, match="safetensors only"):
        ckpt_core.convert(str(path), str(tmp_path / "out.pth"), extract=True)


def test_the_advice_of_the_refusal_works(tmp_path):
    from ckpt_core.cli.main import main

    path, mark = _bad(tmp_path)
    for read in (ckpt_core.load, ckpt_core.inspect, ckpt_core.verify):
        with pytest.raises(UnsafeContentError):
            read(str(path))
    with pytest.raises(UnsafeContentError) as refused:
        ckpt_core.convert(str(path), str(tmp_path / "out.safetensors"))
    advice = re.search(r"ckpt (convert REF out\.safetensors --extract)", refused.value.message)[1]
    words = [
        {"REF": str(path), "out.safetensors": str(tmp_path / "o.safetensors")}.get(w, w) for w in shlex.split(advice)
    ]
    assert main(words) == 0
    assert (tmp_path / "o.safetensors").exists()
    assert not mark.exists()


@pytest.mark.parametrize("options", [["--for", "inference"], ["--for", "resume"], []])
def test_no_profile_passes_what_was_extracted(tmp_path, capsys, options):
    from ckpt_core.cli.main import main

    path, _ = _bad(tmp_path)
    out = str(tmp_path / "out.safetensors")
    assert main(["convert", str(path), str(tmp_path / "out.pth"), "--extract"]) == 2
    assert "safetensors only" in capsys.readouterr().err
    assert main(["convert", str(path), out, "--extract"]) == 0
    capsys.readouterr()
    assert main(["verify", out, *options]) == 4
    assert "COMPLETE" not in capsys.readouterr().out.replace("INCOMPLETE", "")

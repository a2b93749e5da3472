"""Every public verb with what it was not made for: one clear UsageError, and nothing of Python's own."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import CkptError, Query, StoredCheckpoint, UsageError
from ckpt_core.verbs.conversion_request import Plain

VERBS = (
    "certify", "convert", "diff", "inspect", "load", "load_into", "locate", "repair", "save", "seal", "undo_repair",
    "verify",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("arguments") / "m.safetensors"
    ckpt_core.save({"w": torch.ones(2, 3), "b": torch.zeros(3)}, path)
    return path


def _usual(verb, place, folder):
    module = torch.nn.Module()
    module.w, module.b = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(3))
    return {
        "certify": {"ref": place},
        "convert": {"source": place, "destination": folder / "out.pth"},
        "diff": {"first": place, "second": place},
        "load_into": {"module": module, "ref": place},
        "save": {"state": {"w": torch.ones(2)}, "ref": folder / "saved.safetensors"},
    }.get(verb, {"ref": place})


class Odd:
    """Something of nobody's."""


BAD = {
    "None": None,
    "an int": 7,
    "a negative number": -1,
    "a float": 2.5,
    "bytes": b"model",
    "an object": Odd(),
    "a class": Odd,
    "a list": [Odd()],
    "a dict of ints": {1: 2},
    "a set": {3},
    "another word": "no such thing",
    "an empty word": "",
    "a generator": (part for part in ()),
    "a NUL": "a\0b",
    "True": True,
}

KEYWORDS = sorted(Plain.__annotations__)
ASKED = [(verb, name) for verb in VERBS for name in inspect.signature(getattr(ckpt_core, verb)).parameters]
ASKED += [("convert", name) for name in KEYWORDS]


@pytest.mark.parametrize(("verb", "name"), ASKED)
def test_whatever_is_passed_is_taken_or_ends_in_an_error_of_ours(verb, name, place, tmp_path):
    for number, (what, value) in enumerate(BAD.items()):
        (folder := tmp_path / str(number)).mkdir()
        os.chdir(folder)
        usual = _usual(verb, place, folder)
        try:
            getattr(ckpt_core, verb)(**{**usual, name: value})
        except CkptError as error:
            assert str(error) and "\n" not in str(error), what
        except TypeError as error:
            raise AssertionError(f"{verb}({name}={what})") from error


WRONG = [
    ("verify", {"depth": "deep"}, "depth=: 'deep' is no depth; known are layout, bytes, values"),
    ("verify", {"depth": 1}, "depth=: 1 is no depth"),
    ("verify", {"profile": "resumption"}, "profile=: 'resumption' is no profile; known are inference, resume, exact"),
    ("verify", {"profile": "resume", "without": ["schedular"]}, "without=: kinds of components .* is needed"),
    ("verify", {"sampling": 0.1}, "sampling=: a Sampling, or None, is needed, not 0.1 .float."),
    ("locate", {"profile": b"resume"}, "profile=: b'resume' is no profile"),
    ("locate", {"env": ["A"]}, "env=: a mapping by name, or None, is needed"),
    ("load", {"ref": b"m.pt"}, "ref=: a str, a Path, a Query or an open checkpoint is needed, not b'm.pt'"),
    ("load", {"ref": Path("s3://bucket/m.pt")}, "ref=: s3:/bucket/m.pt: pathlib drops a slash of a URL"),
    ("load", {"hints": "stage=dpo"}, "hints=: a mapping by name, or None, is needed, not 'stage=dpo' .str."),
    ("load", {"manager": "none"}, "manager=: a CkptPluginManager"),
    ("load", {"accept_damage": "no"}, "accept_damage=: True or False is needed, not 'no' .str."),
    ("inspect", {"format": 3}, "format=: a str, or None is needed, not 3 .int."),
    ("convert", {"dtypes": "bf61"}, "'bf61': not a type"),
    ("convert", {"dtypes": b"BF16"}, "dtypes="),
    ("convert", {"components": [1]}, "components=: a name, or a sequence of names, is needed"),
    ("convert", {"destination": None}, "destination=: a path or a URL is needed, not None"),
    ("convert", {"base": 1}, "base=: a str, a Path, a Query or an open checkpoint is needed, not 1"),
    ("convert", {"max_memory": True}, "max_memory=: a number of bytes"),
    ("convert", {"models": "ema"}, "models=: goes with base="),
    ("load_into", {"min_coverage": 5}, "min_coverage=: a number from 0 to 1 is needed"),
    ("load_into", {"module": {}}, "module=: a torch.nn.Module is needed, not {} .dict."),
    ("save", {"state": [1]}, "state=: a checkpoint or a state dict is needed, not a list"),
    ("save", {"ref": b"x.pt"}, "ref=: a path or a URL is needed, not b'x.pt'"),
    ("repair", {"output": 1.5}, "output=: a path or a URL is needed, not 1.5"),
    ("diff", {"second": 2}, "second=: a str, a Path, a Query or an open checkpoint is needed, not 2"),
    ("diff", {"state": "yes"}, "state=: True or False is needed"),
    ("seal", {"force": 1}, "force=: True or False is needed, not 1 .int."),
]


@pytest.mark.parametrize(("verb", "given", "said"), WRONG)
def test_a_wrong_argument_is_a_usage_error_that_names_it(verb, given, said, place, tmp_path):
    with pytest.raises(UsageError, match=said) as raised:
        getattr(ckpt_core, verb)(**{**_usual(verb, place, tmp_path), **given})
    assert raised.value.exit_code == 2
    assert not re.search(r"(^|\s)--[a-z]", str(raised.value))


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.none(), st.integers(), st.binary(), st.floats(), st.text(max_size=8), st.lists(st.integers())))
def test_a_query_is_of_a_ref_or_a_usage_error(ref):
    try:
        assert Query(ref).ref == ref
    except UsageError:
        assert not isinstance(ref, str | None)


@pytest.mark.parametrize("depth", ["layout", "bytes", "values", "BYTES", ckpt_core.Depth.VALUES])
def test_a_depth_goes_by_its_name(depth, place):
    assert ckpt_core.verify(place, depth=depth).report.depth is ckpt_core.schema.verification.depth_named(depth)


@pytest.mark.parametrize("profile", ["inference", "Inference", ckpt_core.Profile.INFERENCE])
def test_a_profile_goes_by_its_name(profile, place):
    assert ckpt_core.verify(place, profile=profile).report.assessment.profile is ckpt_core.Profile.INFERENCE


@pytest.mark.parametrize(
    "dtypes", ["bf16", torch.bfloat16, ["torch.bfloat16"], [ckpt_core.DType.BF16], ("*=BFLOAT16",)]
)
def test_a_type_goes_by_any_of_its_names_alone_or_in_a_list(dtypes, place, tmp_path):
    made = ckpt_core.convert(place, tmp_path / "out.safetensors", dtypes=dtypes)
    assert made.report.cast == 2


def test_one_name_stands_for_a_list_of_it(place, tmp_path):
    ckpt_core.convert(place, tmp_path / "out.safetensors", components="model", include="w")
    assert list(ckpt_core.load(tmp_path / "out.safetensors").component("model").tensors) == ["w"]


def _references(place):
    return {
        "a str": str(place),
        "a Path": place,
        "a Query": Query(str(place)),
        "a Query of a Path": Query(place),
        "an open checkpoint": ckpt_core.load(place),
    }


KINDS = ("a str", "a Path", "a Query", "a Query of a Path", "an open checkpoint")


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"certify", "save", "undo_repair"}))
def test_every_verb_takes_every_kind_of_reference(verb, what, place, tmp_path):
    own = Path(shutil.copy(place, tmp_path / "own.safetensors"))
    ref = _references(own)[what]
    usual = _usual(verb, own, tmp_path)
    first = {"convert": "source", "diff": "first"}.get(verb, "ref")
    answer = getattr(ckpt_core, verb)(**{**usual, first: ref})
    match verb:
        case "convert":
            assert answer.report.tensors == 2
        case "diff":
            assert answer.identical and answer.compared == 2
        case "inspect":
            assert answer.totals["model"].tensors == 2
        case "load":
            assert (answer is ref) == isinstance(ref, StoredCheckpoint)
            assert set(answer.to_torch()) == {"w", "b"}
        case "load_into":
            assert answer.coverage == 1.0
        case "locate":
            assert answer.require().kind is ckpt_core.LocationKind.FILE
        case "repair":
            assert not answer.plan.actions
        case "seal":
            assert answer.files == {"own.safetensors": own.stat().st_size}
        case "verify":
            assert answer.report.ok and answer.report.checked_tensors == 2


def test_an_open_checkpoint_is_the_base_of_a_conversion_and_the_source_of_a_certificate(place, tmp_path):
    opened = ckpt_core.load(place)
    out = tmp_path / "out.safetensors"
    ckpt_core.convert(opened, out, base=opened, models="main")
    assert ckpt_core.certify(out, opened) == []


def test_an_open_checkpoint_that_was_replaced_is_not_verified(place, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_bytes(place.read_bytes())
    opened = ckpt_core.load(own)
    own.write_bytes(place.read_bytes() + b" ")
    with pytest.raises(ckpt_core.ReplacedError):
        ckpt_core.verify(opened)


def test_an_open_checkpoint_has_its_format_and_was_searched_for_already(place):
    opened = ckpt_core.load(place)
    with pytest.raises(UsageError, match="format='torch': it is open as safetensors"):
        ckpt_core.verify(opened, format="torch")
    with pytest.raises(UsageError, match="hints=: an open checkpoint is not searched for"):
        ckpt_core.load(opened, hints={"stage": "dpo"})
    with pytest.raises(UsageError, match="hints=: a query has its own"):
        ckpt_core.load(Query(str(place)), hints={"stage": "dpo"})


def test_a_path_is_never_the_name_of_a_stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ckpt_core.CheckpointNotFoundError, match="full_sft: no such file") as raised:
        ckpt_core.load(Path("full_sft"))
    assert "looked at" not in str(raised.value)


def test_a_directory_of_destinations_may_be_a_path(tmp_path):
    report = ckpt_core.save({"w": torch.ones(2)}, tmp_path / "m.pth")
    assert report.location == str(tmp_path / "m.pth")


def test_the_command_line_names_flags_where_python_names_arguments(place, tmp_path):
    with pytest.raises(UsageError, match=r"^models=: goes with base=$"):
        ckpt_core.convert(place, tmp_path / "x.pth", models="ema")
    words = ["-m", "ckpt_core.cli.main", "convert", str(place), str(tmp_path / "x.pth"), "--models", "ema"]
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (2, "ckpt: error: --models: goes with --base\n")

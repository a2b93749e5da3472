import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import ckpt_core
from ckpt_core import Candidate, Location, LocationKind, Priority, Query
from ckpt_core.layouts import checkpoint_of

SECRET = "https://me:pa55word@host/m.safetensors?token=pa55word"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reprs")
    ckpt_core.save({"w": torch.ones(256, 2), "<b>": torch.zeros(3)}, folder / "one.safetensors")
    ckpt_core.save({"w": torch.zeros(256, 2), "c": torch.zeros(3)}, folder / "other.safetensors")
    ckpt_core.save({"model": {"w": torch.ones(2)}, "step": 7}, folder / "train.pt")
    return folder


class Balanced(HTMLParser):
    """Fails where a tag is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def seen(value):
    """The text of its HTML, and its repr, which is one or two lines."""
    parser = Balanced()
    parser.feed(value._repr_html_())
    assert not parser.open
    line = repr(value)
    assert line.count("\n") <= 1 and len(line) < 600
    return line, parser.text


def test_a_checkpoint_says_its_format_its_place_and_what_it_holds(run):
    line, text = seen(ckpt_core.load(run / "one.safetensors"))
    assert line == f"<Checkpoint {run}/one.safetensors, safetensors: model (2 tensors, 2.0 KiB)>"
    assert "model" in text and "2.0 KiB" in text


def test_one_in_memory_does_too(run):
    line, text = seen(checkpoint_of({"model": {"w": torch.ones(4)}, "step": 7}))
    assert line == "<Checkpoint memory, live: model (1 tensor, 16 B), progress (state)>"
    assert "progress" in text


def test_an_inspection_counts_elements(run):
    line, _ = seen(ckpt_core.inspect(run / "train.pt"))
    assert line == f"<Inspection {run}/train.pt: torch; 2 elements in model (1 tensor, 8 B), progress (state)>"


def test_an_inspection_of_several_names_them(run):
    line, text = seen(ckpt_core.inspect(run))
    assert line.startswith(f"<Inspection {run}: 3 checkpoints (one.safetensors, other.safetensors, train.pt")
    assert "train.pt" in text


def test_a_verification_says_the_verdict(run):
    line, _ = seen(ckpt_core.verify(run / "one.safetensors", depth="bytes", profile="inference"))
    assert line.startswith(f"<Verification {run}/one.safetensors: ok at depth bytes, ")
    assert "COMPLETE for inference" in line


def test_a_verification_of_damage_says_so(run, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes((run / "one.safetensors").read_bytes()[:-9])
    line, text = seen(ckpt_core.verify(tmp_path / "cut.safetensors"))
    assert "damaged at depth layout, 1 error" in line
    assert "cut.safetensors" in text


def test_a_diff_says_how_many_differ(run):
    same = ckpt_core.diff(run / "one.safetensors", run / "one.safetensors")
    assert repr(same) == "<DiffReport: identical, 2 tensors compared>"
    line, text = seen(ckpt_core.diff(run / "one.safetensors", run / "other.safetensors"))
    assert line == "<DiffReport: 1 changed, 1 only in the first, 1 only in the second; 1 tensor compared>"
    assert "model/<b>only in the first" in text.replace("\n", "")


@pytest.mark.parametrize(
    "value",
    [
        Query(SECRET),
        Location(SECRET, LocationKind.FILE),
        Candidate(SECRET, Priority.EXPLICIT, "as given"),
        ckpt_core.Resolution(Query(SECRET), None, ()),
    ],
)
def test_no_repr_has_the_secrets_of_a_url(value):
    assert "pa55word" not in repr(value)


SNIPPET = """
import ckpt_core

manager = ckpt_core.get_plugin_manager()
found = manager.hook.locate(query=ckpt_core.Query("m.pt"))
reveal_type(found)
reveal_type(manager.hook.verify)
reveal_type(ckpt_core.verify("m.pt", depth="bytes").report.assessment)
manager.hook.locate(query="m.pt")
"""


def test_a_type_checker_knows_what_a_hook_answers(tmp_path):
    (tmp_path / "snippet.py").write_text(SNIPPET)
    root = Path(ckpt_core.__file__).parents[1]
    # with the options of the repository, so that what `make lint` has found of it is found again
    command = [sys.executable, "-m", "mypy", str(tmp_path / "snippet.py")]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert 'Revealed type is "ckpt_core.schema.locations.Resolution"' in ran.stdout, ran.stdout + ran.stderr
    assert "ckpt_core.schema.verification.VerifyReport" in ran.stdout
    assert "ckpt_core.schema.profiles.Assessment | None" in ran.stdout
    assert 'incompatible type "str"; expected "Query"' in ran.stdout
    assert ran.stdout.count("error:") == 1

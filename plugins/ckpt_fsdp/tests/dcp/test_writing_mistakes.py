"""A writer of distributed checkpoints that makes a mistake, each in one way: nothing is committed."""

import os
from dataclasses import replace

import numpy as np
import pytest
from ckpt_fsdp.dcp import opening, writing

import ckpt_core
from ckpt_core import Literal, LocationKind, Target, TensorBytes, WritePlan, hookimpl
from ckpt_core.errors import CkptError
from ckpt_core.manager.plugin_manager import CkptPluginManager


class Changed(Target):
    """A target to which a changed plan is written."""

    def __init__(self, target, mistake):
        self._target, self._mistake = target, mistake
        self.location, self.format, self.options = target.location, target.format, {"ranks": 2}

    def write(self, plan, checkpoint):
        return self._target.write(WritePlan(tuple(self._mistake(list(plan.files)))), checkpoint)


class Faulty:
    def __init__(self, mistake):
        self._mistake = mistake

    @hookimpl
    def formats(self):
        return (ckpt_core.Format("faulty", "writes wrongly", writes=LocationKind.DIRECTORY),)

    @hookimpl
    def load(self, files, match, request):
        return opening.read(files, match, request)

    @hookimpl
    def save(self, checkpoint, target):
        return writing.write(checkpoint, Changed(target, self._mistake))


def changed(files, change):
    """The plan with the sections of tensors changed, by what `change` makes of each."""
    return [
        replace(f, sections=tuple(change(s) if isinstance(s, TensorBytes) else s for s in f.sections)) for f in files
    ]


def no_mistake(files):
    return files


def rows_of_the_other_rank(files):
    other = {((0, 0), (4, 8)): ((4, 0), (4, 8)), ((4, 0), (4, 8)): ((0, 0), (4, 8))}
    return changed(files, lambda section: replace(section, box=other.get(section.box, section.box)))


def rows_shifted_by_one(files):
    shifted = {((4, 0), (4, 8)): ((3, 0), (4, 8))}
    return changed(files, lambda section: replace(section, box=shifted.get(section.box, section.box)))


def two_tensors_exchanged(files):
    other = {"q.weight": "k.weight", "k.weight": "q.weight"}
    return changed(files, lambda section: replace(section, name=other.get(section.name, section.name)))


def a_rank_left_out(files):
    return [file for file in files if not file.path.startswith("__1")]


def checksums_left_out(files):
    return [replace(file, checksums=False) for file in files]


def in_metadata(files, old, new):
    """The plan with bytes of `.metadata` changed."""
    (metadata,) = files[-1].sections
    assert old in metadata.data
    return [*files[:-1], replace(files[-1], sections=(Literal(metadata.data.replace(old, new, 1)),))]


def a_key_by_another_name(files):
    return in_metadata(files, b"norm.weight", b"norm.wright")


def another_type(files):
    return in_metadata(files, b"float32", b"float64")


MISTAKES = [
    rows_of_the_other_rank,
    rows_shifted_by_one,
    two_tensors_exchanged,
    a_rank_left_out,
    a_key_by_another_name,
    another_type,
]


def save(mistake, place, **how):
    draw = np.random.default_rng(0)
    weights = {name: draw.standard_normal((8, 8)).astype("f4") for name in ("q.weight", "k.weight")}
    weights["norm.weight"] = draw.standard_normal(8).astype("f4")
    manager = CkptPluginManager()
    manager.load_builtin()
    manager.register(Faulty(mistake), name="faulty")
    return ckpt_core.save({"model": weights}, str(place), format="faulty", manager=manager, **how)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("resume", [False, True])
def test_a_mistake_commits_nothing(mistake, resume, tmp_path):
    with pytest.raises(CkptError):
        save(mistake, tmp_path / "out", resume=resume)
    assert os.listdir(tmp_path) == []


def test_without_a_mistake_it_is_committed(tmp_path):
    assert save(no_mistake, tmp_path / "out").tensors == 3


def test_checksums_that_were_not_computed_are_found_by_verify(tmp_path):
    """They are no part of the proof: torch does not look at them. They protect what is stored."""
    save(checksums_left_out, tmp_path / "out")
    found = ckpt_core.verify(str(tmp_path / "out"), depth=ckpt_core.Depth.BYTES).report.findings
    assert any(finding.code.startswith("ZP") for finding in found)

"""Formats that write wrongly, each in one way: what is read back proves it, and nothing is committed.

A plugin plans a safetensors file as core does, with one mistake; its reader is core's. Each mistake is one that real
converters have made: a norm left out, two tensors of one shape exchanged, a transpose, rows shifted by one.
"""

import os
from dataclasses import replace

import numpy as np
import pytest

import ckpt_core
from ckpt_core import LocationKind, hookimpl
from ckpt_core.builtin import safetensors as builtin
from ckpt_core.codecs.safetensors.writer import plan_safetensors
from ckpt_core.errors import CorruptError, LoadError, PluginError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.selection import select
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.plans import Literal, TensorBytes, WritePlan
from ckpt_core.verbs.save import save


def weights():
    draw = np.random.default_rng(0)
    made = {name: draw.standard_normal((8, 8)).astype("f4") for name in ("q.weight", "k.weight")}
    made |= {"norm.weight": np.ones(8, "f4"), "embed": draw.standard_normal((12, 8)).astype("f4")}
    return {**made, "head": made["embed"]}


class Faulty:
    """A format whose save makes a mistake: in the header it writes, in the sections it plans, or in what it reads."""

    def __init__(self, mistake):
        self._mistake = mistake

    @hookimpl
    def formats(self):
        return (ckpt_core.Format("faulty", "writes wrongly", writes=LocationKind.FILE),)

    @hookimpl
    def load(self, files, match, request):
        return builtin.load(files, match, request)

    @hookimpl
    def save(self, checkpoint, target):
        component = checkpoint.component("model")
        names = dict(component.tensors.infos())
        plan, source = self._mistake(component, names, target, checkpoint)
        return target.write(WritePlan((plan,)), source)


def planned(component, names, target):
    return plan_safetensors(target.name, component, names, metadata={})


def correct(component, names, target, checkpoint):
    return planned(component, names, target), checkpoint


def a_norm_left_out(component, names, target, checkpoint):
    return planned(component, {n: o for n, o in names.items() if n != "norm.weight"}, target), checkpoint


def a_tensor_made_up(component, names, target, checkpoint):
    plan = planned(component, names, target)
    return edited(plan, b'"q.weight"', b'"q.extras"'), checkpoint


def two_exchanged(component, names, target, checkpoint):
    plan = planned(component, names, target)
    other = {"q.weight": "k.weight", "k.weight": "q.weight"}
    sections = [replace(s, name=other.get(s.name, s.name)) if isinstance(s, TensorBytes) else s for s in plan.sections]
    return replace(plan, sections=tuple(sections)), checkpoint


def another_shape(component, names, target, checkpoint):
    return edited(planned(component, names, target), b"[12,8]", b"[8,12]"), checkpoint


def another_type(component, names, target, checkpoint):
    return edited(planned(component, names, target), b'"F32","shape":[8]', b'"I32","shape":[8]'), checkpoint


def the_wrong_alias(component, names, target, checkpoint):
    return edited(planned(component, names, target), rb"\"head\": \"embed\"", rb"\"head\": \"k.weight\""), checkpoint


def the_alias_left_out(component, names, target, checkpoint):
    return planned(component, {n: o for n, o in names.items() if n != "head"}, target), checkpoint


def a_section_cut_short(component, names, target, checkpoint):
    plan = planned(component, names, target)
    *rest, last = plan.sections
    return replace(plan, sections=(*rest, replace(last, length=last.length - 4))), checkpoint


def the_last_section_missing(component, names, target, checkpoint):
    plan = planned(component, names, target)
    return replace(plan, sections=plan.sections[:-1]), checkpoint


class Transposed(Checkpoint):
    """Reads its tensors wrongly, as a converter with a mistake in its arithmetic does, and says nothing of it."""

    def __init__(self, base, change):
        self.location, self.match, self.manifest = base.location, base.match, base.manifest
        self._base, self._change = base, change

    def read(self, component, name, *, box=None, out=None):
        return self._base.read(component, name, box=box, out=out)

    def stream(self, component, name):
        entry = self.manifest.component(component).tensors[name]
        array = np.frombuffer(self._base.read(component, name), "f4").reshape(entry.shape)
        changed = memoryview(np.ascontiguousarray(self._change(array))).cast("B")
        yield changed, changed


def wrongly_read(change):
    def mistake(component, names, target, checkpoint):
        return planned(component, names, target), Transposed(checkpoint, change)

    return mistake


def edited(plan, old, new):
    """The plan with its header changed, its length kept right."""
    header, *rest = plan.sections
    text = header.data[8:]
    assert old in text, text
    text = text.replace(old, new, 1).rstrip()
    text += b" " * (-len(text) % 8)
    return replace(plan, sections=(Literal(len(text).to_bytes(8, "little") + text), *rest))


MISTAKES = [
    a_norm_left_out,
    a_tensor_made_up,
    two_exchanged,
    another_shape,
    another_type,
    the_wrong_alias,
    the_alias_left_out,
    a_section_cut_short,
    the_last_section_missing,
]


def faulty(mistake):
    manager = CkptPluginManager()
    manager.load_builtin()
    manager.register(Faulty(mistake), name="faulty")
    return manager


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("resume", [False, True])
def test_a_format_that_writes_wrongly_commits_nothing(mistake, resume, tmp_path):
    (tmp_path / "m").write_bytes(b"what was there")
    with pytest.raises((CorruptError, LoadError)):
        save(weights(), str(tmp_path / "m"), format="faulty", force=True, resume=resume, manager=faulty(mistake))
    assert os.listdir(tmp_path) == ["m"]
    assert (tmp_path / "m").read_bytes() == b"what was there"


def test_the_same_format_without_a_mistake_is_committed(tmp_path):
    report = save(weights(), str(tmp_path / "m"), format="faulty", manager=faulty(correct))
    assert report.tensors == 5


def test_a_checkpoint_that_gives_fewer_bytes_than_it_says_is_refused(tmp_path):
    with pytest.raises(CorruptError, match="were planned"):
        save(weights(), str(tmp_path / "m"), format="faulty", manager=faulty(wrongly_read(lambda a: a[1:])))
    assert os.listdir(tmp_path) == []


def test_a_cast_that_overflows_is_refused(tmp_path):
    save({"w": np.array([1.0, 70000.0], "f4")}, str(tmp_path / "s.safetensors"))
    view = select(ckpt_core.load(str(tmp_path / "s.safetensors")), dtypes=[("*", ckpt_core.DType.F16)])
    with pytest.raises(LoadError, match="w: 1 finite values are too large for F16"):
        save(view, str(tmp_path / "out" / "m.safetensors"))
    assert os.listdir(tmp_path / "out") == []


def test_a_format_that_does_not_write_is_named(tmp_path):
    class Idle(Faulty):
        @hookimpl
        def save(self, checkpoint, target):
            return None

    manager = CkptPluginManager()
    manager.load_builtin()
    manager.register(Idle(None), name="idle")
    with pytest.raises(PluginError, match="did not write"):
        save(weights(), str(tmp_path / "m"), format="faulty", manager=manager)
    assert os.listdir(tmp_path) == []

"""A conversion that is run again: done already where every byte proves it, refused where anything is otherwise."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from ckpt_core.storage.writing.locks import locked
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.save import save
from tests.storage.ranks_in_threads import in_ranks

KINDS = {"m.safetensors": [], "m.pth": ["--dtype", "bf16"], "d": ["--to", "hf"], "e": ["--to", "dcp"]}


@pytest.fixture(params=KINDS)
def done(request, ckpt, tmp_path):
    """A conversion, as the words of its command, that came to its end."""
    save({name: np.full((16, 16), number, "f4") for number, name in enumerate("abc")}, str(tmp_path / "s.safetensors"))
    words = ["convert", str(tmp_path / "s.safetensors"), str(tmp_path / "out" / request.param), *KINDS[request.param]]
    assert ckpt(*words).code == 0
    return words


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def largest(place):
    files = [path for path in place.parent.rglob("*") if path.is_file() and "ckpt" not in path.name]
    return max(files, key=lambda path: path.stat().st_size)


def flip(path):
    data = path.read_bytes()
    path.write_bytes(data[:-200] + bytes([data[-200] ^ 1]) + data[-199:])


def test_it_says_that_the_work_was_done_and_writes_nothing(ckpt, done, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again = ckpt(*done)
    assert again.code == 0 and "already done: it came of the same source and plan" in again.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    result = json.loads(ckpt(*done, "--json").out)["result"]
    assert result["already_done"] and result["tensors"] == 3
    forced = json.loads(ckpt(*done, "--force", "--json").out)["result"]
    assert not forced["already_done"]
    ignored = ("already_done",)
    assert {k: v for k, v in forced.items() if k not in ignored} == {
        k: v for k, v in result.items() if k not in ignored
    }


def test_it_sweeps_what_a_killed_run_left(ckpt, done, tmp_path):
    before = everything(tmp_path / "out")
    name = os.path.basename(done[2])
    (tmp_path / "out" / f".{name}.ckpt-stage-convert" / "data").mkdir(parents=True)
    (tmp_path / "out" / f".{name}.ckpt-lock").touch()
    assert "already done" in ckpt(*done).out
    assert everything(tmp_path / "out") == before
    assert not [found for found in os.listdir(tmp_path / "out") if found.startswith(".")]


def other_source(done, place):
    save({"a": np.ones((4, 4), "f4")}, done[1], force=True)


def source_written_again(done, place):
    flip(Path(done[1]))
    os.unlink(done[1] + ".ckpt.json")


def damaged(done, place):
    flip(largest(place))


def truncated(done, place):
    os.truncate(largest(place), 100)


def unsealed(done, place):
    for path in [*place.parent.rglob("*.ckpt.json"), *place.parent.rglob("ckpt.manifest.json")]:
        path.unlink()


def other_rule(done, place):
    done += ["--exclude", "c"]


def other_names(done, place):
    done += ["--rename", "a=z"]


@pytest.mark.parametrize(
    "change", [other_source, source_written_again, damaged, truncated, unsealed, other_rule, other_names]
)
def test_what_is_otherwise_is_refused_as_ever(change, ckpt, done, tmp_path):
    place = tmp_path / "out" / os.path.basename(done[2])
    change(done, place)
    before = everything(tmp_path / "out")
    refused = ckpt(*done)
    assert refused.code == 9 and "exists" in refused.err and "--force" in refused.err
    assert everything(tmp_path / "out") == before
    assert ckpt(*done, "--force").code == 0


def test_a_file_more_or_less_is_not_the_outcome(ckpt, tmp_path):
    save({name: np.full((16, 16), number, "f4") for number, name in enumerate("abc")}, str(tmp_path / "s.pth"))
    words = ("convert", tmp_path / "s.pth", tmp_path / "d", "--to", "dcp")
    assert ckpt(*words).code == 0
    (tmp_path / "d" / "more.json").write_text("{}")
    assert ckpt(*words).code == 9
    (tmp_path / "d" / "more.json").unlink()
    assert "already done" in ckpt(*words).out
    next((tmp_path / "d").glob("*.distcp")).unlink()
    assert ckpt(*words).code == 9


def test_a_writer_at_the_place_is_waited_for(ckpt, done):
    parent, name = os.path.split(done[2])
    with locked(os.path.join(parent, f".{name}.ckpt-lock"), place=done[2]):
        assert ckpt(*done).code == 5
    assert ckpt(*done).code == 0


def test_ranks_all_say_that_it_was_done(tmp_path):
    source = str(tmp_path / "s.safetensors")
    save({name: np.full((16, 16), number, "f4") for number, name in enumerate("abc")}, source)

    def work(ranks):
        return convert(source, str(tmp_path / "d"), to="dcp", ranks=ranks).already_done

    assert in_ranks(2, work) == [False, False]
    before = everything(tmp_path / "d")
    assert in_ranks(2, work) == [True, True]
    assert convert(source, str(tmp_path / "d"), to="dcp").already_done
    assert everything(tmp_path / "d") == before

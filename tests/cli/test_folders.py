"""Folders of checkpoints where one checkpoint is usual: `diff` pairs them by name, `repair` plans for each."""

import json
import shutil

import pytest

from ckpt_core.cli.main import main


@pytest.fixture
def runs(files, tmp_path, monkeypatch):
    """Two runs with a checkpoint that is the same, one that differs, and one that only one of them has."""
    monkeypatch.chdir(tmp_path)
    for run, names in (
        ("a", {"first.pth": "weights.pth", "second.pth": "tied.pth", "third.pth": "weights.pth"}),
        ("b", {"first.pth": "weights.pth", "second.pth": "training.pth"}),
    ):
        (tmp_path / run).mkdir()
        for name, source in names.items():
            shutil.copy(files / source, tmp_path / run / name)
    return tmp_path


def test_two_runs_are_compared_checkpoint_by_checkpoint(runs, capsys):
    assert main(["diff", "a", "b"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["first.pth", "identical"], ["second.pth", "different"]]
    assert lines[3] == "only in A: third.pth"
    assert lines[4].startswith("in all: 1 of 2 checkpoints identical")
    assert main(["diff", "a", "b", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert [one["identical"] for one in content["result"]["members"]] == [True, False]
    assert (content["ref"], content["result"]["members_only_in_a"]) == (["a", "b"], ["third.pth"])


def test_a_run_is_identical_to_its_copy_and_not_to_half_of_it(runs, capsys):
    shutil.copytree("a", "copy")
    assert main(["diff", "a", "copy"]) == 0
    (runs / "copy" / "third.pth").unlink()
    assert main(["diff", "a", "copy"]) == 1


def test_a_damaged_member_is_the_exit_code_and_the_others_are_compared(runs, capsys):
    shutil.copytree("a", "copy")
    (runs / "copy" / "first.pth").write_bytes((runs / "a" / "first.pth").read_bytes()[:-9])
    assert main(["diff", "a", "copy"]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:4]] == ["not", "identical", "identical"]


@pytest.mark.parametrize("other", ["b/first.pth", "none_alike"])
def test_what_cannot_be_paired_is_a_question(runs, capsys, other):
    shutil.copytree("a", "none_alike")
    for name in ("first", "second", "third"):
        (runs / "none_alike" / f"{name}.pth").rename(runs / "none_alike" / f"other_{name}.pth")
    assert main(["diff", "a", other]) == 2
    assert "name one as" in capsys.readouterr().err


def test_repair_plans_for_each_checkpoint_of_a_folder_and_mends_one_at_a_time(runs, capsys):
    assert main(["repair", "a"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"a/{name}.pth: nothing to repair" for name in ("first", "second", "third")
    ]
    (runs / "a" / "second.pth").write_bytes((runs / "a" / "second.pth").read_bytes()[:-9])
    assert main(["repair", "a", "--json"]) == 4
    content = json.loads(capsys.readouterr().out)
    assert [one["after"] for one in content["result"]] == ["ok", "error", "ok"]
    assert main(["repair", "a", "--apply", "--in-place"]) == 2
    assert "name one as a#first.pth" in capsys.readouterr().err

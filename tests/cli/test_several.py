"""Several refs and globs: an answer or a failure of each, one exit code, an array for `--json`."""

import json
import os
import shutil
import signal
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from ckpt_core.cli.main import main
from ckpt_core.cli.output.answer import first_code


@pytest.fixture
def shelf(files, tmp_path, monkeypatch):
    """Five refs of which each has another exit code, in the current folder."""
    for name in ("weights.safetensors", "cut.safetensors", "weights.pth"):
        shutil.copy(files / name, tmp_path / name)
    (tmp_path / "words.txt").write_text("no checkpoint\n")
    for step in (100, 20):
        (tmp_path / f"step_{step}").mkdir()
        shutil.copy(files / "weights.pth", tmp_path / f"step_{step}" / "model.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(capsys, *args):
    code = main(args)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def _array(capsys, *args):
    code, out, err = _run(capsys, *args, "--json")
    assert err == ""
    return code, json.loads(out)


@pytest.mark.parametrize("verb", ["inspect", "verify"])
@pytest.mark.parametrize(
    ("refs", "codes"),
    [
        (["weights.pth", "weights.safetensors"], [0, 0]),
        (["weights.pth", "./nowhere"], [0, 3]),
        (["./nowhere", "words.txt"], [3, 6]),
        (["words.txt", "cut.safetensors", "weights.pth"], [6, 4, 0]),
    ],
)
def test_each_ref_has_its_answer_and_the_code_is_the_gravest(capsys, shelf, verb, refs, codes):
    code, found = _array(capsys, verb, *refs)
    assert [one["exit"] for one in found] == codes
    assert [one["ref"] for one in found] == refs
    assert {one["schema"] for one in found} == {f"ckpt/{verb}@1"}
    assert code == first_code(codes)
    assert main([verb, *refs]) == code
    assert main([verb, "-q", *refs]) == code


@pytest.mark.parametrize(
    ("codes", "first"),
    [([], 0), ([0, 1, 2], 2), ([3, 6, 5], 5), ([8, 4, 7], 7), ([10, 70, 4], 70), ([1, 9, 3], 9), ([4, 130], 130)],
)
def test_the_first_code_of_the_contract_counts(codes, first):
    assert first_code(codes) == first


def test_a_glob_in_quotes_is_expanded_by_numbers_and_its_answer_is_always_an_array(capsys, shelf):
    code, found = _array(capsys, "inspect", "step_*/model.pth")
    assert (code, [one["ref"] for one in found]) == (0, ["step_20/model.pth", "step_100/model.pth"])
    assert [one["ref"] for one in _array(capsys, "verify", "step_1*")[1]] == ["step_100"]
    assert [one["exit"] for one in _array(capsys, "verify", "nothing_*")[1]] == [3]


def test_a_glob_passes_over_seals_and_a_file_of_such_a_name_is_no_glob(capsys, shelf):
    assert main(["seal", "weights.pth"]) == 0
    capsys.readouterr()
    assert (shelf / "weights.pth.ckpt.json").exists()
    assert [one["ref"] for one in _array(capsys, "verify", "weights.*")[1]] == ["weights.pth", "weights.safetensors"]
    (shelf / "weights.pth").rename(shelf / "odd[1].pth")
    assert _array(capsys, "inspect", "odd[1].pth")[1]["ref"] == "odd[1].pth"


def test_pages_are_below_each_other_and_failures_on_stderr(capsys, shelf):
    code, out, err = _run(capsys, "inspect", "weights.pth", "./nowhere", "weights.safetensors")
    assert (code, err.splitlines()[0].startswith("ckpt: error: ./nowhere: no such file")) == (3, True)
    assert [line for line in out.splitlines() if line.startswith("weights")] == [
        "weights.pth: torch",
        "weights.safetensors: safetensors",
    ]
    assert _run(capsys, "inspect", "-q", "weights.pth", "step_20")[1].splitlines()[0] == "weights.pth:"


def test_verify_has_one_table_and_what_is_wrong_below_it(capsys, shelf):
    code, out, err = _run(capsys, "verify", "weights.pth", "cut.safetensors", "./nowhere")
    rows = [line.split() for line in out.splitlines()]
    assert code == 4
    assert [row[3] for row in rows[1:4]] == ["ok", "error", "not"]
    assert rows[4:6] == [["cut.safetensors:"], ["ST007", *rows[5][1:]]]
    assert "./nowhere" in err
    assert _run(capsys, "verify", "-q", "weights.pth", "cut.safetensors")[1].splitlines() == [
        "weights.pth ok",
        "cut.safetensors error",
    ]


def test_reports_for_ci_hold_all_of_them_and_what_could_not_be_checked(capsys, shelf):
    refs = ("weights.pth", "cut.safetensors", "./nowhere")
    suites = ElementTree.fromstring(_run(capsys, "verify", *refs, "--report", "junit")[1])
    assert [(suite.get("name"), suite.get("failures"), suite.get("errors")) for suite in suites] == [
        ("weights.pth", "0", None),
        ("cut.safetensors", "1", None),
        ("./nowhere", "0", "1"),
    ]
    results = json.loads(_run(capsys, "verify", *refs, "--report", "sarif")[1])["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == ["ST007", "CheckpointNotFoundError"]


def test_seal_seals_each_and_goes_on_after_one_that_is_sealed(capsys, shelf):
    assert main(["seal", "weights.pth"]) == 0
    capsys.readouterr()
    code, found = _array(capsys, "seal", "weights.pth", "weights.safetensors")
    assert (code, [one["exit"] for one in found]) == (9, [9, 0])
    assert (shelf / "weights.safetensors.ckpt.json").exists()


def test_a_source_for_several_certificates_is_refused(capsys, shelf):
    assert main(["verify", "weights.pth", "step_20", "--certificate", "--source", "weights.pth"]) == 2


_SECOND_STOPS = """
import signal, sys
import ckpt_core.verbs.inspect as module
from ckpt_core.cli.main import main
inspect = module.inspect
def stopped(ref, **how):
    if ref == "weights.safetensors":
        signal.raise_signal(signal.SIGINT)
    return inspect(ref, **how)
module.inspect = stopped
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""


def test_an_interrupt_ends_the_asking_and_keeps_what_was_answered(shelf):
    args = ["inspect", "weights.pth", "weights.safetensors", "step_20", "--json"]
    done = subprocess.run([sys.executable, "-c", _SECOND_STOPS, *args], capture_output=True, text=True, cwd=os.getcwd())
    assert done.returncode == 130 == 128 + signal.SIGINT
    assert [one["exit"] for one in json.loads(done.stdout)] == [0, 130]

"""`ckpt copy` on the command line: what it shows, what it refuses, and that what it advises works."""

import json
import shlex
import signal
import subprocess
import time

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import command


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"w": torch.ones(600, 1000)}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def test_a_page_says_what_was_copied_and_what_it_was_compared_with(ckpt, model, tmp_path):
    done = ckpt("copy", model, tmp_path / "new")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["file", "size"]
    assert "source checked by nothing: it has no checksums" in lines
    assert lines[-1].endswith("hf, 2 files, 2.3 MiB; sealed by what was read: the source has no seal")
    assert ckpt("copy", model, tmp_path / "new").out.splitlines()[-1].endswith("every byte is as its seal says")
    assert ckpt("copy", tmp_path / "new", tmp_path / "third", "-q").out == f"{tmp_path / 'third'}\n"


def test_json_has_all_of_it(ckpt, model, tmp_path):
    said = json.loads(ckpt("copy", model, tmp_path / "new", "--exclude", "config.json", "--json").out)
    assert (said["schema"], said["ok"]) == ("ckpt/copy@1", True)
    result = said["result"]
    assert result["left_out"] == {"config.json": "as asked"}
    assert result["parts"] == {"moved": 1, "kept": 0, "shared": 0, "cached": 0}
    assert (result["seal"], result["bytes"]) == ("of the part", 2_400_112)


def test_a_dry_run_writes_nothing(ckpt, model, tmp_path):
    done = ckpt("copy", model, tmp_path / "new", "--dry-run")
    assert "would copy 2 files" in done.out
    assert "nothing was written" in done.out
    assert not (tmp_path / "new").exists()


def test_the_advice_of_each_refusal_works(ckpt, model, tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "epoch": 1}, model / "more.pth")
    (model / "pipe").symlink_to("/dev/null")
    refused = ckpt("copy", model, tmp_path / "new")
    assert refused.code == 5, refused
    flag = shlex.split(refused.err.partition("leave it out with ")[2])
    assert flag == ["--exclude", "pipe"]
    assert ckpt("copy", model, tmp_path / "new", *flag).code == 0
    again = ckpt("copy", model, tmp_path / "new", "--exclude", "pipe", "--exclude", "config.json")
    assert again.code == 9
    assert "--force" in again.err
    assert ckpt("copy", model, tmp_path / "new", "--exclude", "pipe", "--exclude", "*.json", "--force").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["copy"], 2, "Missing argument 'SOURCE'"),
        (["copy", "{m}"], 2, "Missing argument 'DESTINATION'"),
        (["copy", "{m}/no", "{m}2"], 3, "no such"),
        (["copy", "{m}", "{m}/inside"], 9, "would overwrite the source"),
        (["copy", "{m}", "{m}2", "--component", "modle"], 2, "did you mean model?"),
        (["copy", "{m}", "ftp://host/x"], 7, "scheme 'ftp' is not one of"),
        (["copy", "{m}", ""], 2, "nothing was given"),
    ],
)
def test_bad_input_is_one_clear_line(ckpt, model, words, code, said):
    done = ckpt(*[word.replace("{m}", str(model)) for word in words])
    assert done.code == code, done
    assert said in done.err
    assert "Traceback" not in done.err


def test_an_interrupt_says_what_is_kept_and_the_same_command_goes_on(tmp_path, ckpt):
    source = tmp_path / "large.safetensors"
    save_file({f"t{number}": torch.full((8 << 20,), float(number)) for number in range(8)}, source)
    words = command("copy", source, tmp_path / "new.safetensors")
    # Where these tests run in the background they ignore interrupts, and so would what they start.
    stopped = subprocess.Popen(
        words,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    stage = tmp_path / ".new.safetensors.ckpt-stage-convert"
    end = time.monotonic() + 120
    while time.monotonic() < end and not (stage / "journal").exists():
        time.sleep(0.001)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=120)
    assert stopped.returncode == 130, said
    assert "the same command goes on from it" in said
    assert stage.exists()
    done = json.loads(ckpt("copy", source, tmp_path / "new.safetensors", "--json").out)
    assert done["ok"]
    parts = done["result"]["parts"]
    assert parts["moved"] + parts["kept"] == 33
    assert not stage.exists()

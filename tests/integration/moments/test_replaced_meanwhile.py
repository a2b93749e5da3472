"""A reader in a loop against a writer in a loop: what is there is fine, or was replaced; it is never called damaged.

Each kind of writer is another process. 500 rounds of each where long tests are run, with and without pauses between
its writes; some of them otherwise.
"""

import collections
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import ckpt_core
from ckpt_core.errors import CkptError, ReplacedError
from ckpt_core.schema.verification import Depth
from tests.integration.moments.writers import KINDS

_SUFFIX = {"safetensors_in_place": ".safetensors", "sealed_file": ".safetensors"}
_FILES = ("torch_in_place", "torch_same_size_in_place", "torch_renamed", *_SUFFIX)


@pytest.fixture(autouse=True)
def _waits_for_writers(monkeypatch):
    monkeypatch.delenv("CKPT_WRITER_WAIT")


@contextmanager
def written_to(kind, tmp_path, pause):
    """The place that another process writes to during the block."""
    place = tmp_path / ("m" + _SUFFIX.get(kind, ".pt") if kind in _FILES else "d")
    script = Path(__file__).with_name("writers.py")
    command = [sys.executable, "-W", "ignore", str(script), kind, str(place), str(pause)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "there\n", writer.stderr.read()
            yield str(place)
            assert writer.poll() is None, writer.stderr.read()
        finally:
            writer.kill()


def code_of(work):
    try:
        return work()
    except CkptError as error:
        return error.exit_code


def verified(place, depth):
    report = ckpt_core.verify(place, depth=depth).report
    return 0 if report.ok else [finding.message for finding in report.findings]


def codes_of_verify(kind, tmp_path, pause, rounds):
    with written_to(kind, tmp_path, pause) as place:
        depths = [list(Depth)[number % 3] for number in range(rounds)]
        return collections.Counter(str(code_of(lambda depth=depth: verified(place, depth))) for depth in depths)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_that_is_replaced_while_it_is_verified_is_never_called_damaged(kind, tmp_path):
    found = codes_of_verify(kind, tmp_path, 0.01, 40)
    assert set(found) <= {"0", "5"}, found


@pytest.mark.long
@pytest.mark.parametrize("pause", [0, 0.03])
@pytest.mark.parametrize("kind", KINDS)
def test_nor_is_it_in_many_rounds(kind, pause, tmp_path):
    found = codes_of_verify(kind, tmp_path, pause, 500)
    assert set(found) <= {"0", "5"}, found


@pytest.mark.parametrize("kind", ["torch_in_place", "torch_renamed", "sealed_file", "sealed_directory", "dcp_in_place"])
def test_what_is_loaded_converted_or_compared_meanwhile_is_whole_or_refused(kind, tmp_path):
    with written_to(kind, tmp_path, 0.01) as place:
        found = collections.Counter()
        for number in range(8):
            made = str(tmp_path / f"{number}.safetensors")
            found[code_of(lambda: len(ckpt_core.load(place).to_torch()) and 0)] += 1
            found[code_of(lambda made=made: ckpt_core.convert(place, made, components=["model"]) and 0)] += 1
            found[code_of(lambda: ckpt_core.diff(place, place) and 0)] += 1
            found[code_of(lambda: ckpt_core.inspect(place) and 0)] += 1
    assert set(found) <= {0, 5}, found


def test_the_command_ends_with_5_and_says_to_run_it_again(tmp_path):
    with written_to("torch_in_place", tmp_path, 0) as place:
        code = "import sys; from ckpt_core.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", code, "verify", place]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 5), done.stderr
    if done.returncode == 5:
        assert done.stderr.startswith(("ckpt: error MO001: ", "ckpt: error CK003: ")), "and of no plugin"
        assert done.stderr.endswith(" while it was read; run it again\n") and done.stdout == ""


def test_damage_that_nobody_writes_to_is_damage_also_right_after_it_was_written(tmp_path):
    torch.save({"w": torch.ones(64)}, tmp_path / "m.pt")
    content = bytearray((tmp_path / "m.pt").read_bytes())
    content[content.index(b"\x00\x00\x80\x3f" * 8)] ^= 1
    (tmp_path / "m.pt").write_bytes(content)
    report = ckpt_core.verify(str(tmp_path / "m.pt"), depth=Depth.BYTES).report
    assert [finding.code for finding in report.findings] == ["ZP004"]


def test_a_log_that_grows_beside_the_weights_keeps_nobody_from_reading_them(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.ones(64)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    stop = threading.Event()

    def log():
        while not stop.wait(0.0005):
            with open(tmp_path / "train.log", "a") as file:
                file.write("another line\n")

    (tmp_path / "train.log").touch()
    writing = threading.Thread(target=log)
    writing.start()
    try:
        for _ in range(10):
            place = ckpt_core.load(str(tmp_path))
            assert len(place.to_torch()) == 1
            ckpt_core.verify(str(tmp_path), depth=Depth.BYTES)
    finally:
        stop.set()
        writing.join()


@pytest.mark.parametrize("atomic", [True, False])
def test_a_module_is_left_as_it_was_or_the_error_says_what_it_holds(atomic, tmp_path):
    module = torch.nn.Linear(512, 512)
    before = module.weight.detach().clone()
    torch.save(torch.nn.Linear(512, 512).state_dict(), tmp_path / "m.pt")
    opened = ckpt_core.load(str(tmp_path / "m.pt"))
    torch.save(torch.nn.Linear(512, 512).state_dict(), tmp_path / "m.pt")
    with pytest.raises(ReplacedError, match="run it again"):
        ckpt_core.load_into(module, opened, atomic=atomic)
    assert not atomic or module.weight.equal(before)


def test_a_rotation_that_removes_what_is_looked_at_costs_that_one_alone(tmp_path):
    for step in (1, 2):
        torch.save({"model": {"w": torch.ones(2)}, "step": step}, tmp_path / f"step_{step}.pt")
    place = ckpt_core.locate(str(tmp_path), profile="inference")
    assert place.location.url.endswith("step_2.pt")
    opened = ckpt_core.load(place.location.url)
    (tmp_path / "step_2.pt").unlink()
    with pytest.raises(ReplacedError, match="was removed while it was read"):
        opened.check_unchanged()
    assert ckpt_core.locate(str(tmp_path), profile="inference").location.url.endswith("step_1.pt")

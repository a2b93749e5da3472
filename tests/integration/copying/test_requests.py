"""What a dry run says of requests, held against the server's log; faults on the way; an interrupt."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest

import ckpt_core
from ckpt_core import CorruptError, NoAnswerError, copy
from ckpt_core.storage.objects import settling
from tests.cli.conftest import command
from tests.integration.copying.children import LEAST_PART
from tests.servers.faults import cut, flip_sent, lost_answer, status
from tests.storage.copying.checkpoints import contents_of, model_directory


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A model directory whose largest file has four parts."""
    monkeypatch.setattr(settling, "_PART", LEAST_PART)
    folder = model_directory(tmp_path / "model")
    ckpt_core.save({"a": np.arange(2_000_000.0)}, folder / "model-00002-of-00003.safetensors", force=True)
    os.remove(folder / "model-00002-of-00003.safetensors.ckpt.json")
    index = (folder / "model.safetensors.index.json").read_text().replace("layers.2.weight", "a")
    (folder / "model.safetensors.index.json").write_text(index)
    return folder


def test_a_dry_run_tells_about_how_many_requests_it_takes(faulty_s3, source, tmp_path):
    said = copy(source, f"{faulty_s3.url}/out", dry_run=True)
    assert said.requests["source"] == 0
    assert not faulty_s3.proxy.asked("PUT|POST")
    copy(source, f"{faulty_s3.url}/out")
    made = len(faulty_s3.proxy.asked("PUT|POST"))
    assert abs(made - said.requests["destination"]) <= 8, "what commits it takes a few more"
    faulty_s3.proxy.clear()
    back = copy(f"{faulty_s3.url}/out", tmp_path / "back", dry_run=True)
    headers = len(faulty_s3.proxy.log)
    faulty_s3.proxy.clear()
    copy(f"{faulty_s3.url}/out", tmp_path / "back")
    beside = 10  # the seal, looked for and read; the names compared at the end
    proofs = len(back.files)  # the blocks that opening had read some bytes of
    taken = len(faulty_s3.proxy.log) - headers
    assert back.requests["source"] <= taken <= back.requests["source"] + proofs + beside


def test_within_a_store_nothing_is_sent(faulty_s3, source):
    copy(source, f"{faulty_s3.url}/out")
    said = copy(f"{faulty_s3.url}/out", f"{faulty_s3.url}/again", dry_run=True)
    faulty_s3.proxy.clear()
    copy(f"{faulty_s3.url}/out", f"{faulty_s3.url}/again")
    sent = sum(one.sent for one in faulty_s3.proxy.asked("PUT|POST"))
    assert sent < 100_000
    assert abs(len(faulty_s3.proxy.asked("PUT|POST")) - said.requests["destination"]) <= 8


@pytest.mark.parametrize(
    ("fault", "method", "path"),
    [
        (lost_answer, "POST", "uploadId="),
        (flip_sent(5000), "PUT", "partNumber=3"),
        (lost_answer, "PUT", "journal"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (lost_answer, "PUT", "partNumber=2"),
                (status(500, "InternalError"), "PUT", "partNumber=1"),
                (status(503, "SlowDown"), "POST", "uploadId="),
                (lost_answer, "PUT", r"ckpt\.manifest\.json"),
                (lost_answer, "PUT", "config.json"),
            )
        ),
    ],
)
def test_a_fault_on_the_way_to_a_store_is_got_over(faulty_s3, source, fault, method, path):
    faulty_s3.proxy.rule(fault, method=method, path=path)
    copy(source, f"{faulty_s3.url}/out")
    assert any(one.fault for one in faulty_s3.proxy.log)
    found = ckpt_core.verify(f"{faulty_s3.url}/out", depth="bytes").report
    assert found.ok
    copy(f"{faulty_s3.url}/out", source.parent / "back")
    assert contents_of(source.parent / "back").items() >= contents_of(source).items()


@pytest.mark.parametrize(
    "fault",
    [cut(1000), *(pytest.param(one, marks=pytest.mark.long) for one in (status(500, "InternalError"), lost_answer))],
)
def test_a_fault_on_the_way_from_a_store_is_got_over_or_one_clear_line(faulty_s3, source, fault, tmp_path):
    copy(source, f"{faulty_s3.behind.url}/out")
    faulty_s3.proxy.rule(fault, method="GET", path="model-00002", first=3, last=4)
    try:
        copy(f"{faulty_s3.url}/out", tmp_path / "back")
    except (CorruptError, NoAnswerError) as error:
        assert "\n" not in str(error)
        faulty_s3.proxy.clear()
        copy(f"{faulty_s3.url}/out", tmp_path / "back")
    assert contents_of(tmp_path / "back").items() >= contents_of(source).items()


def test_an_interrupt_says_what_is_kept_in_the_store(faulty_s3, source):
    from tests.servers.faults import delay

    faulty_s3.proxy.rule(delay(3), method="PUT", path=r"x-00001.*|partNumber=[34]|model-00002", first=3, last=None)
    words = command("copy", source, f"{faulty_s3.url}/out")
    # Where these tests run in the background they ignore interrupts, and so would what they start.
    child = subprocess.Popen(
        words,
        env={**os.environ, **faulty_s3.env},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    end = time.monotonic() + 40
    while time.monotonic() < end and not faulty_s3.proxy.asked("PUT", "journal/00002"):
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "the same command goes on from it" in said
    faulty_s3.proxy.clear()
    again = subprocess.run(
        command("copy", source, f"{faulty_s3.url}/out", "--json"),
        env={**os.environ, **faulty_s3.env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert again.returncode == 0, again
    assert '"kept": 0' not in again.stdout


NOWHERE = [
    ("copy", "s3://no-such-bucket/out", {}, 3),
    ("clean", "s3://ckpt/denied/out", {"AWS_SECRET_ACCESS_KEY": "another"}, 5),
    ("copy", "https://127.0.0.1:9/out", {}, 6),
    ("clean", "hf://org/name/out", {}, 6),
    ("clean", "s3://no-such-bucket/out", {}, 3),
    ("copy", "s3://ckpt/denied/out", {"AWS_SECRET_ACCESS_KEY": "another"}, 5),
    ("clean", "https://127.0.0.1:9/out", {}, 6),
    ("copy", "hf://org/name/out", {}, 6),
    ("copy", "s3://ckpt", {}, 2),  # but all of a bucket may be cleaned
]


@pytest.mark.parametrize(
    ("verb", "place", "env", "code"),
    [*NOWHERE[:4], *(pytest.param(*one, marks=pytest.mark.long) for one in NOWHERE[4:])],
)
def test_a_place_that_cannot_be_written_to_is_one_clear_line(s3, source, verb, place, env, code):
    words = ["copy", source, place] if verb == "copy" else ["clean", place]
    environment = {**os.environ, **s3.env, **env}
    done = subprocess.run(command(*words), env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert "another" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("ckpt: error")]) == 1

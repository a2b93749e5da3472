"""Copies from servers to a disk: the same bytes, of one version, and no part asked for twice after a stop."""

import os
import signal

import numpy as np
import pytest

import ckpt_core
from ckpt_core import ReplacedError
from ckpt_core.storage.copying import to_disk
from tests.servers.faults import kill
from tests.storage.http_server import serve

PART = 1 << 20
OBJECT = r"/a\.safetensors(\?|$)"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(to_disk, "PART", PART)


@pytest.fixture
def local(tmp_path):
    """A sealed checkpoint of five parts."""
    path = tmp_path / "local" / "a.safetensors"
    ckpt_core.save({"a": np.arange(600_000.0), "b": np.ones(3)}, path)
    return path


def put(place, folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place.put(str(path.relative_to(folder)), path.read_bytes())


def test_a_file_of_a_bucket_comes_with_its_seal(s3, local, tmp_path):
    put(s3, local.parent)
    done = ckpt_core.copy(f"{s3.url}/a.safetensors", tmp_path / "b.safetensors")
    assert (done.seal, done.checked, done.moved) == ("kept", "seal", 5)
    assert (tmp_path / "b.safetensors").read_bytes() == local.read_bytes()
    assert ckpt_core.verify(tmp_path / "b.safetensors", depth="bytes").report.ok


def test_a_directory_of_gcs_is_copied_and_sealed(gcs, local, tmp_path):
    ckpt_core.save({"a": np.arange(100_000.0)}, tmp_path / "small.safetensors")
    gcs.put("model/model.safetensors", (tmp_path / "small.safetensors").read_bytes())
    gcs.put("model/config.json", b"{}")
    gcs.put("model/deep/notes.txt", b"note")
    done = ckpt_core.copy(f"{gcs.url}/model", tmp_path / "copy")
    assert done.seal == "new"
    assert sorted(done.files) == ["config.json", "deep/notes.txt", "model.safetensors"]
    assert ckpt_core.verify(tmp_path / "copy", depth="bytes").report.ok


def test_a_file_of_a_web_server(local, tmp_path):
    with serve({"a.safetensors": local.read_bytes()}) as server:
        done = ckpt_core.copy(server.url("a.safetensors"), tmp_path / "b.safetensors")
        assert done.seal == "new"
        assert done.requests["source"] == 5
    assert (tmp_path / "b.safetensors").read_bytes() == local.read_bytes()


def test_an_object_that_is_replaced_meanwhile_ends_it_and_leaves_nothing(s3, local, tmp_path):
    put(s3, local.parent)

    class Writer:
        def begin(self, total):
            s3.put("a.safetensors", local.read_bytes()[::-1])

        def advance(self, nbytes):
            pass

    with pytest.raises(ReplacedError) as caught:
        ckpt_core.copy(f"{s3.url}/a.safetensors", tmp_path / "b.safetensors", progress=Writer())
    assert caught.value.exit_code == 5
    assert sorted(os.listdir(tmp_path)) == ["local"]


def bytes_asked(proxy):
    """How many bytes of the object were sent, each range by its start."""
    return [one for one in proxy.asked("GET", OBJECT) if one.received >= PART]


@pytest.mark.parametrize("number", [3, *(pytest.param(number, marks=pytest.mark.long) for number in (1, 2, 4, 5))])
def test_a_copy_killed_as_it_reads_goes_on_from_the_parts_it_had(faulty_s3, nursery, local, tmp_path, number):
    put(faulty_s3.behind, local.parent)
    faulty_s3.proxy.rule(kill(nursery.child), method="GET", path=OBJECT, first=number + 1, last=None)
    words = (f"{faulty_s3.url}/a.safetensors", str(tmp_path / "b.safetensors"))
    call = "tests.integration.copying.children:copy_to_disk"
    assert nursery.run(call, *words, env=faulty_s3.env) == -signal.SIGKILL
    faulty_s3.proxy.clear()
    done = ckpt_core.copy(f"{faulty_s3.url}/a.safetensors", tmp_path / "b.safetensors")
    assert done.kept + done.moved == 5
    assert len(bytes_asked(faulty_s3.proxy)) <= done.moved
    assert (tmp_path / "b.safetensors").read_bytes() == local.read_bytes()

"""Copies into stores: the same objects, sealed last; killed at any request, and gone on from by another process."""

import os
import signal

import fsspec
import numpy as np
import pytest

import ckpt_core
from ckpt_core import CkptError, CorruptError, OverwriteError, copy
from ckpt_core.storage.objects import settling
from tests.integration.copying.children import LEAST_PART
from tests.servers.faults import before, kill
from tests.storage.copying.checkpoints import contents_of, model_directory


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """The least that S3 takes of any part but the last."""
    monkeypatch.setattr(settling, "_PART", LEAST_PART)


@pytest.fixture
def memory():
    fsspec.filesystem("memory").store.clear()
    yield "memory://bucket"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["memory", "s3", "gcs"])
def place(request):
    found = request.getfixturevalue(request.param)
    return found if isinstance(found, str) else found.url


def below(url):
    """Every object below a URL, hidden or not, by its name there."""
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return {name[len(root) :].lstrip("/"): files.cat_file(name) for name in files.find(root) if files.isfile(name)}


@pytest.fixture
def model(tmp_path):
    return model_directory(tmp_path / "model")


def test_a_directory_goes_into_a_store_and_comes_back_the_same(place, model, tmp_path):
    done = copy(model, f"{place}/out")
    assert done.seal == "new"
    held = below(f"{place}/out")
    assert {name: data for name, data in held.items() if not name.startswith("ckpt.")} == contents_of(model)
    assert sorted(name for name in held if name.startswith("ckpt.")) == ["ckpt.blocks", "ckpt.manifest.json"]
    assert ckpt_core.verify(f"{place}/out", depth="bytes").report.ok
    back = copy(f"{place}/out", tmp_path / "back")
    assert (back.seal, back.checked) == ("kept", "seal")
    assert contents_of(tmp_path / "back").items() >= contents_of(model).items()
    assert ckpt_core.verify(tmp_path / "back", depth="bytes").report.ok


def test_a_file_goes_into_a_store_with_a_seal_of_its_object(place, tmp_path):
    ckpt_core.save({"a": np.arange(60_000.0)}, tmp_path / "a.safetensors")
    done = copy(tmp_path / "a.safetensors", f"{place}/b.safetensors")
    assert done.seal == "kept"
    assert sorted(below(place)) == ["b.safetensors", "b.safetensors.ckpt.json"]
    report = ckpt_core.verify(f"{place}/b.safetensors", depth="bytes").report
    assert report.ok
    assert not [finding for finding in report.findings if finding.severity]


def test_what_is_there_is_not_replaced_without_force_and_a_copy_flattens(place, model, tmp_path):
    copy(model, f"{place}/out")
    other = model_directory(tmp_path / "other", seed=5)
    with pytest.raises(OverwriteError):
        copy(other, f"{place}/out")
    copy(other, f"{place}/out", force=True)
    held = below(f"{place}/out")
    assert all(name == "ckpt.manifest.json" or name.startswith(".ckpt-generation-") for name in held)
    copy(f"{place}/out", f"{place}/flat")
    flat = below(f"{place}/flat")
    assert {name: data for name, data in flat.items() if not name.startswith("ckpt.")} == contents_of(other)
    copy(f"{place}/out", tmp_path / "flat")
    assert contents_of(tmp_path / "flat").items() >= contents_of(other).items()


def test_a_copy_that_is_there_is_not_made_again(place, model):
    copy(model, f"{place}/out")
    before = below(f"{place}/out")
    assert copy(model, f"{place}/out").already_done
    assert below(f"{place}/out") == before


@pytest.mark.filterwarnings("ignore:Sending a large body")
def test_within_one_store_the_store_copies_and_every_byte_is_compared(place, model):
    copy(model, f"{place}/out")
    done = copy(f"{place}/out", f"{place}/again")
    assert (done.moved, done.seal) == (0, "kept")
    assert done.shared > 0
    one, other = below(f"{place}/out"), below(f"{place}/again")
    assert {name: one[name] for name in contents_of(model)} == {name: other[name] for name in contents_of(model)}
    files, root = fsspec.core.url_to_fs(f"{place}/out/model-00002-of-00003.safetensors")
    data = bytearray(files.cat_file(root))
    data[-5] ^= 1
    files.pipe_file(root, bytes(data))
    with pytest.raises(CorruptError, match="not what was sealed"):
        copy(f"{place}/out", f"{place}/third")
    assert below(f"{place}/third") == {}


@pytest.mark.parametrize("server", ["s3", "gcs"])
def test_between_two_buckets_of_one_server_nothing_is_sent(server, request, model, tmp_path):
    there = request.getfixturevalue(f"faulty_{server}")
    other = there.url.replace("//ckpt/", "//ckpt-other/")
    there.make_bucket("ckpt-other")
    copy(model, f"{there.url}/out")
    there.proxy.clear()
    done = copy(f"{there.url}/out", f"{other}/out")
    assert (done.moved, done.seal) == (0, "kept") and done.shared > 0
    sent = sum(one.sent for one in there.proxy.asked("PUT|POST"))
    assert sent < 50_000 < done.nbytes
    came = {name: data for name, data in below(f"{other}/out").items() if not name.startswith("ckpt.")}
    assert came == contents_of(model)
    assert ckpt_core.verify(f"{other}/out", depth="bytes").report.ok
    assert copy(f"{other}/out", f"{there.url}/out").already_done
    there.proxy.rule(before(lambda: there.behind.put("out/config.json", b"{}")), method="PUT|POST", path="config")
    with pytest.raises(CkptError):
        copy(f"{there.url}/out", f"{other}/third")
    assert below(f"{other}/third") == {}


def test_a_place_that_holds_the_source_is_refused(place, model):
    copy(model, f"{place}/run/out")
    for wrong in ("run/out", "run/out/inside", "run"):
        with pytest.raises(OverwriteError):
            copy(f"{place}/run/out", f"{place}/{wrong}", force=True)
    assert ckpt_core.verify(f"{place}/run/out", depth="bytes").report.ok


COPY = "tests.integration.copying.children:copy"


def moved(proxy):
    """The objects and parts of data that the server has taken."""
    data = [one for one in proxy.asked("PUT") if ".ckpt-" not in one.path and "ckpt." not in one.path]
    return [one for one in data if one.sent]


@pytest.mark.parametrize("number", [14, *(pytest.param(number, marks=pytest.mark.long) for number in (8, 20))])
def test_a_copy_into_gcs_killed_at_a_request_is_gone_on_from(faulty_gcs, nursery, number, tmp_path):
    source, place = model_directory(tmp_path / "model"), f"{faulty_gcs.url}/out"
    faulty_gcs.proxy.rule(kill(nursery.child, done=bool(number % 4)), first=number)
    assert nursery.run(COPY, str(source), place, 1, env=faulty_gcs.env) == -signal.SIGKILL
    faulty_gcs.proxy.clear()
    copy(source, place)
    held = below(place)
    assert {name: data for name, data in held.items() if not name.startswith("ckpt.")} == contents_of(source)
    assert ckpt_core.verify(place, depth="bytes").report.ok


WHOLE = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("points", "movers"), [(3, 1), (2, 6), pytest.param(25, 1, marks=WHOLE), pytest.param(10, 6, marks=WHOLE)]
)
def test_a_copy_killed_at_any_request_is_gone_on_from(faulty_s3, nursery, points, movers, tmp_path):
    """What was under way is moved again, one part for each mover, and nothing that was done."""
    source = tmp_path / "model"
    source.mkdir()
    ckpt_core.save({"a": np.arange(2_000_000.0)}, source / "model.safetensors")
    os.remove(source / "model.safetensors.ckpt.json")
    (source / "config.json").write_text("{}")
    assert nursery.run(COPY, str(source), f"{faulty_s3.url}/known", movers, env=faulty_s3.env) == 0
    requests, parts = len(faulty_s3.proxy.log), len(moved(faulty_s3.proxy))
    assert parts == 5
    for number in range(points):
        at, place = 1 + round((number + 0.5) * requests / points), f"{faulty_s3.url}/{number}"
        faulty_s3.proxy.clear()
        faulty_s3.proxy.rule(kill(nursery.child, done=bool(number % 2)), first=at)
        assert nursery.run(COPY, str(source), place, movers, env=faulty_s3.env) == -signal.SIGKILL, at
        first = len(moved(faulty_s3.proxy))
        faulty_s3.proxy.clear()
        done = copy(source, place)
        assert done.already_done or done.kept + done.moved == parts
        assert first + len(moved(faulty_s3.proxy)) <= parts + movers, at
        held = below(place)
        assert sorted(held) == ["ckpt.blocks", "ckpt.manifest.json", "config.json", "model.safetensors"], at
        assert held["model.safetensors"] == (source / "model.safetensors").read_bytes()
        assert ckpt_core.verify(place, depth="bytes").report.ok

"""Places that publish: what is written there is staged here, given over whole, and gone on with after a stop."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ckpt_core.errors import NoAnswerError, UnsupportedFormatError, UsageError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.remote.filesystems import served
from ckpt_core.storage.writing.targets import open_target
from ckpt_core.verbs.convert import convert
from ckpt_core.verbs.load import load
from ckpt_core.verbs.moving.copy import copy
from ckpt_core.verbs.save import save

URL = "wandb://shelf/run"


class Shelf:
    """A publisher that keeps each version in a folder of its own."""

    publishes = True

    def __init__(self, folder):
        self.folder = folder
        self.refuses = False

    def staging(self, url, *, is_file):
        if url.endswith("!"):
            raise UsageError("nothing is published under such a name")
        (self.folder / "staging").mkdir(exist_ok=True)
        return str(self.folder / "staging")

    def publish(self, url, files, *, is_file):
        if self.refuses:
            raise NoAnswerError("the shelf does not answer")
        version = self.folder / f"v{len(self.versions)}"
        for path, own in files.items():
            (version / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(own, version / path)
        return {"url": f"{url}:{version.name}", "is_new": True, "note": f"{version.name} was made"}

    @property
    def versions(self):
        return sorted(self.folder.glob("v*"))

    @property
    def staged(self):
        return [path for path in (self.folder / "staging").rglob("*") if path.is_file() and "lock" not in path.name]


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "shelf").mkdir()
    shelf = Shelf(tmp_path / "shelf")
    with served("wandb", shelf):
        yield shelf


def weights(value=1.0):
    return {"w": np.full((300,), value, "f4")}


@pytest.fixture
def source(tmp_path):
    save(weights(), str(tmp_path / "source"), format="hf")
    return str(tmp_path / "source")


def held(version):
    return {path.name: path.read_bytes() for path in Path(version).iterdir()}


def test_save_convert_and_copy_each_make_a_version_that_is_said(shelf, source):
    copied = copy(source, URL)
    converted = convert(source, URL, to="hf")
    saved = save(weights(2.0), f"{URL}/m.safetensors")
    assert (copied.destination, copied.published) == (f"{URL}:v0", "v0 was made")
    assert (converted.report.location, converted.report.published) == (f"{URL}:v1", "v1 was made")
    assert (saved.location, saved.published) == (f"{URL}/m.safetensors:v2", "v2 was made")
    assert held(shelf.versions[0]) == held(source)
    assert load(str(shelf.versions[1])).read("model", "w") == load(source).read("model", "w")
    assert sorted(held(shelf.versions[2])) == ["m.safetensors", "m.safetensors.ckpt.json"]
    assert shelf.staged == []


def test_what_was_refused_is_staged_and_given_over_again_without_being_read(shelf, source):
    shelf.refuses = True
    with pytest.raises(NoAnswerError):
        copy(source, URL)
    assert shelf.versions == []
    assert shelf.staged
    shelf.refuses = False
    done = copy(source, URL)
    assert (done.moved, done.kept) == (0, len(held(source)) - 2)  # its seal is written, not moved
    assert held(shelf.versions[0]) == held(source)
    assert shelf.staged == []


def test_what_cannot_be_published_is_refused_before_anything_is_read(shelf, source):
    with pytest.raises(UsageError, match="nothing is published"):
        copy(source, f"{URL}!")
    with pytest.raises(UnsupportedFormatError, match="is published by one process; write to a folder that all ranks"):
        open_target(
            URL, format="hf", kind=LocationKind.DIRECTORY, ranks=SimpleNamespace(world=2, leads=True)
        ).__enter__()


def test_a_dry_run_publishes_nothing(shelf, source):
    assert copy(source, URL, dry_run=True).destination == URL
    assert convert(source, URL, to="hf", dry_run=True).report is None
    assert shelf.versions == []

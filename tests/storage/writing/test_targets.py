"""Where may be written, what becomes of what is there, and with which rights."""

import errno
import gc
import os
import stat
import subprocess

import numpy as np
import pytest
import torch

import ckpt_core
from ckpt_core.errors import (
    BudgetError,
    CorruptError,
    OverwriteError,
    ReplacedError,
    UnreachableError,
    UnsupportedFormatError,
    UsageError,
)
from ckpt_core.reading.selection import select
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.plans import FilePlan, TensorBytes, WritePlan
from ckpt_core.storage.writing import syscalls
from ckpt_core.storage.writing.overlap import refuse_overlap
from ckpt_core.storage.writing.plan_digest import digest_of_plan
from ckpt_core.storage.writing.targets import open_target
from ckpt_core.verbs.save import save


def weights(value=1.0, size=16):
    return {"w": np.full((size,), value, "f4"), "v": np.arange(4)}


def value_at(path):
    return float(np.frombuffer(ckpt_core.load(str(path)).read("model", "w"), "f4")[0])


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_umask_decides_who_may_read_what_is_written(tmp_path, umask):
    save(weights(), str(tmp_path / "m.safetensors"))
    save(weights(), str(tmp_path / "new" / "d"), format="hf")
    assert mode(tmp_path / "m.safetensors") == mode(tmp_path / "m.safetensors.ckpt.json") == 0o640
    assert mode(tmp_path / "new") == mode(tmp_path / "new" / "d") == 0o750
    assert {mode(path) for path in (tmp_path / "new" / "d").iterdir()} == {0o640}


@pytest.mark.parametrize("spelled", ["{0}", "{0}/", "{0}/sub/x.pth", "{0}/../src", "{link}", "{link}/x.pth", "{above}"])
def test_an_input_is_no_place_to_write_to(tmp_path, spelled):
    source = tmp_path / "src"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    ref = spelled.format(source, link=tmp_path / "link", above=tmp_path)
    with pytest.raises(OverwriteError, match="would overwrite the source"):
        refuse_overlap(ref, {str(source): "the source"})


def test_another_name_of_the_same_file_is_that_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(OverwriteError):
        refuse_overlap(str(tmp_path / "b"), {str(tmp_path / "a"): "the source"})


def test_a_place_beside_an_input_is_fine(tmp_path):
    refuse_overlap(str(tmp_path / "src2"), {str(tmp_path / "src"): "the source"})
    refuse_overlap("s3://b/x", {str(tmp_path / "src"): "the source"})


def test_what_is_there_is_replaced_only_by_force(tmp_path):
    path = tmp_path / "m.safetensors"
    save(weights(1), str(path))
    with pytest.raises(OverwriteError, match="force=True"):
        save(weights(2), str(path))
    assert value_at(path) == 1
    save(weights(2), str(path), force=True)
    assert value_at(path) == 2


def test_the_old_content_stays_until_the_commit(tmp_path):
    path = tmp_path / "m.safetensors"
    save(weights(1), str(path))

    class Watching:
        seen = ()

        def begin(self, total):
            pass

        def advance(self, count):
            self.seen += (value_at(path),)

    watching = Watching()
    save(weights(2), str(path), force=True, progress=watching)
    assert set(watching.seen) == {1.0}


def test_an_empty_directory_may_be_written_to(tmp_path):
    (tmp_path / "d").mkdir()
    save(weights(), str(tmp_path / "d"), format="hf")
    assert value_at(tmp_path / "d") == 1


@pytest.mark.parametrize(("name", "format"), [("d", "safetensors"), ("f", "hf")])
def test_a_directory_is_never_replaced_by_a_file_nor_a_file_by_a_directory(tmp_path, name, format):
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(OverwriteError, match="choose another place"):
        save(weights(), str(tmp_path / name), format=format, force=True)
    assert (tmp_path / "f").read_bytes() == b"x"


@pytest.mark.parametrize("format", ["safetensors", "hf"])
def test_what_appears_meanwhile_is_not_touched(tmp_path, format):
    path = tmp_path / "m"

    class Foreign:
        def begin(self, total):
            if format == "hf":
                path.mkdir(exist_ok=True)
                (path / "theirs").write_bytes(b"x")
            else:
                path.write_bytes(b"x")

        def advance(self, count):
            pass

    with pytest.raises(OverwriteError):
        save(weights(), str(path), format=format, progress=Foreign())
    assert ((path / "theirs") if format == "hf" else path).read_bytes() == b"x"
    assert os.listdir(tmp_path) == ["m"]


def test_a_link_is_followed_to_what_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "m.safetensors").symlink_to(tmp_path / "real" / "m.safetensors")
    save(weights(), str(tmp_path / "m.safetensors"))
    assert sorted(os.listdir(tmp_path / "real")) == ["m.safetensors", "m.safetensors.ckpt.json"]
    assert (tmp_path / "m.safetensors").is_symlink()


@pytest.mark.parametrize("ref", ["", "/"])
def test_a_name_is_needed(ref):
    with (
        pytest.raises(UsageError, match="not a place to write to"),
        open_target(ref, format="hf", kind=LocationKind.DIRECTORY),
    ):
        pass


def test_a_url_that_cannot_be_written_to_is_refused_by_name():
    with pytest.raises(UnsupportedFormatError, match="https:// is read only; write to a disk"):
        save(weights(), "https://host/m.safetensors")


def test_a_name_too_long_is_said_so(tmp_path):
    with pytest.raises(UsageError, match="name too long; choose a shorter one"):
        save(weights(), str(tmp_path / f"{'x' * 240}.safetensors"))
    assert os.listdir(tmp_path) == []


def test_a_file_in_the_way_of_the_parent_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OverwriteError, match="file"):
        save(weights(), str(tmp_path / "file" / "m.safetensors"))


@pytest.fixture
def mounted(tmp_path):
    """Mounts a small filesystem of memory with given options, where this process may."""
    places = []

    def mount(options):
        place = tmp_path / f"mount{len(places)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
        places.append(place)
        return place

    yield mount
    gc.collect()  # a checkpoint that refers to itself keeps its folder open until then
    for place in places:
        subprocess.run(["umount", str(place)], check=True)


def fits(place):
    assert value_at(place / "m.safetensors") == 1
    assert sorted(os.listdir(place)) == ["m.safetensors", "m.safetensors.ckpt.json"]


def test_a_disk_without_room_is_not_filled_to_find_that_out(mounted, monkeypatch):
    place = mounted("size=256k")
    save(weights(1), str(place / "m.safetensors"))
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("reserved"))
    with pytest.raises(BudgetError, match=r"\d+ bytes are to be written and \d+ are free; free space there"):
        save(weights(2, 100_000), str(place / "m.safetensors"), force=True)
    fits(place)


def test_a_disk_that_has_less_room_than_it_says_is_told(mounted, monkeypatch):
    place = mounted("size=256k")
    save(weights(1), str(place / "m.safetensors"))
    elsewhere = os.statvfs("/dev")
    monkeypatch.setattr(os, "statvfs", lambda _: elsewhere)
    with pytest.raises(BudgetError, match="no space left on device; free space there"):
        save(weights(2, 100_000), str(place / "m.safetensors"), force=True)
    fits(place)


def test_a_place_that_is_read_only_is_said_so(mounted):
    place = mounted("size=64k,ro")
    with pytest.raises(UnreachableError, match="read-only file system"):
        save(weights(), str(place / "m.safetensors"))


def test_a_filesystem_of_another_kind_is_written_to_as_well(mounted):
    place = mounted("size=1m")
    save(weights(1), str(place / "d"), format="hf")
    save(weights(2), str(place / "d"), format="hf", force=True)
    assert value_at(place / "d") == 2
    assert os.listdir(place) == ["d"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL])
def test_without_renameat2_new_names_are_still_not_taken_from_others(tmp_path, monkeypatch, code):
    monkeypatch.setattr(syscalls, "renameat2", lambda *_: code)
    save(weights(1), str(tmp_path / "m.safetensors"))
    with pytest.raises(OverwriteError):
        syscalls.rename_new(str(tmp_path / "m.safetensors.ckpt.json"), str(tmp_path / "m.safetensors"))
    assert value_at(tmp_path / "m.safetensors") == 1


def test_a_directory_whose_new_content_cannot_be_named_has_the_old_again(tmp_path, monkeypatch):
    save(weights(1), str(tmp_path / "d"), format="hf")
    monkeypatch.setattr(syscalls, "renameat2", lambda source, target, flags: errno.EINVAL if flags == 2 else errno.EIO)
    with pytest.raises(UnreachableError):
        save(weights(2), str(tmp_path / "d"), format="hf", force=True)
    assert value_at(tmp_path / "d") == 1
    assert os.listdir(tmp_path) == ["d"]


class Once:
    """A progress that does something to the source when the writing begins."""

    def __init__(self, act):
        self._act = act

    def begin(self, total):
        self._act()

    def advance(self, count):
        pass


def shorten(path):
    os.truncate(path, os.path.getsize(path) - 8)


def modify(path):
    with open(path, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x01\x02\x03\x04")


def replace(path):
    save(weights(3), str(path), force=True)


def remove(path):
    os.unlink(path)


@pytest.mark.parametrize("act", [shorten, modify, replace, remove])
@pytest.mark.parametrize("resume", [False, True])
def test_a_source_that_changes_while_it_is_read_is_not_written(tmp_path, act, resume):
    source = tmp_path / "source.safetensors"
    save(weights(1), str(source))
    (tmp_path / "out").mkdir()
    opened = ckpt_core.load(str(source))
    with pytest.raises(ReplacedError, match="while it was read; run it again"):
        save(opened, str(tmp_path / "out" / "m.pth"), resume=resume, progress=Once(lambda: act(source)))
    assert os.listdir(tmp_path / "out") == []


def test_tensors_in_memory_are_never_gone_on_with(tmp_path):
    """A stopped save of other values, of the same names and shapes, left a journal."""
    path = tmp_path / "m.safetensors"

    def stop():
        raise KeyboardInterrupt

    class Late:
        def begin(self, total):
            self.left = total

        def advance(self, count):
            self.left -= count
            if not self.left:
                stop()

    with pytest.raises(KeyboardInterrupt):
        save(weights(1), str(path), resume=True, progress=Late())
    assert os.path.exists(tmp_path / ".m.safetensors.ckpt-stage-convert" / "journal")
    save(weights(2), str(path), resume=True)
    assert value_at(path) == 2
    assert sorted(os.listdir(tmp_path)) == ["m.safetensors", "m.safetensors.ckpt.json"]


def test_a_conversion_whose_stage_was_damaged_fails_once_and_then_works(tmp_path):
    source, path = tmp_path / "s.safetensors", tmp_path / "m.pth"
    save(weights(5), str(source))

    class Late:
        def begin(self, total):
            self.left = total

        def advance(self, count):
            self.left -= count
            if not self.left:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(ckpt_core.load(str(source)), str(path), resume=True, progress=Late())
    staged = tmp_path / ".m.pth.ckpt-stage-convert" / "data" / "m.pth"
    staged.write_bytes(bytes(staged.stat().st_size))
    with pytest.raises(CorruptError, match="nothing was committed"):
        save(ckpt_core.load(str(source)), str(path), resume=True)
    save(ckpt_core.load(str(source)), str(path), resume=True)
    assert value_at(path) == 5


def test_tensors_renamed_in_a_circle_are_other_work(tmp_path):
    source = tmp_path / "x.safetensors"
    ckpt_core.save({"a": torch.zeros(4), "b": torch.ones(4)}, str(source))
    plan = WritePlan((FilePlan("y", (TensorBytes("model", "a", 16), TensorBytes("model", "b", 16))),))
    plain = select(ckpt_core.load(str(source)))
    swapped = select(ckpt_core.load(str(source)), rename=[("a", "b"), ("b", "a")])
    assert digest_of_plan(plan, plain) == digest_of_plan(plan, select(ckpt_core.load(str(source))))
    assert digest_of_plan(plan, plain) != digest_of_plan(plan, swapped)

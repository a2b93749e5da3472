import gc
import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckpt_core import knobs
from ckpt_core.errors import BudgetError, CheckpointNotFoundError, CorruptError, ReplacedError, UnreachableError
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files import regular
from ckpt_core.storage.files.local import list_local
from ckpt_core.storage.files.probe import probe

pytestmark = pytest.mark.timeout(120)  # what is guarded against here is a hang


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "checkpoint"
    place.mkdir()
    (place / "a.bin").write_bytes(b"0123456789")
    return place


@pytest.fixture
def anyones_folder():
    """A folder that every user may enter, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextmanager
def as_nobody():
    """Without root's right to read everything."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def reasons(place):
    return dict(list_local(str(place)).skipped)


def test_a_directory_is_listed_with_sizes_in_the_order_of_paths(root):
    (root / "b").mkdir()
    (root / "b" / "c.bin").write_bytes(b"xyz")
    (root / ".hidden").write_bytes(b"h")
    (root / "empty").write_bytes(b"")
    files = list_local(str(root))
    assert files.location.kind is LocationKind.DIRECTORY
    assert [(path, entry.size) for path, entry in files.entries.items()] == [
        (".hidden", 1),
        ("a.bin", 10),
        ("b/c.bin", 3),
        ("empty", 0),
    ]
    assert all(path == entry.path for path, entry in files.entries.items())
    assert files.skipped == {}


def test_a_file_is_a_listing_of_itself(root):
    files = list_local(str(root / "a.bin"))
    assert files.location.kind is LocationKind.FILE
    assert list(files.entries) == ["a.bin"]
    assert files.read("a.bin") == b"0123456789"
    assert files.local_path("a.bin") == os.path.realpath(root / "a.bin")


def test_a_bare_file_name_is_looked_for_in_the_current_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    assert list_local("a.bin").read("a.bin", 2, 3) == b"234"


def test_pipes_sockets_and_devices_are_left_out_each_with_its_reason(root, monkeypatch):
    monkeypatch.chdir(root)  # a socket's path must be short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    (root / "zero").symlink_to("/dev/zero")
    assert list(list_local(str(root)).entries) == ["a.bin"]
    assert reasons(root) == {
        "pipe": "not a regular file (a device, a pipe or a socket)",
        "socket": "not a regular file (a device, a pipe or a socket)",
        "zero": "a link to a directory, or to nothing",
    }


def test_links_are_judged_by_where_they_end(root, tmp_path):
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "x").write_bytes(b"x")
    (root / "sub").mkdir()
    (root / "sub" / "inside").symlink_to("../a.bin")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "sibling").symlink_to("../checkpoint-2/x")
    (root / "folder").symlink_to("sub")
    (root / "dangling").symlink_to("nothing")
    (root / "loop").symlink_to("loop")
    (root / "first").symlink_to("second")
    (root / "second").symlink_to("first")
    files = list_local(str(root))
    assert list(files.entries) == ["a.bin", "sub/inside"]
    assert files.read("sub/inside") == b"0123456789"
    out, nothing = "a link that leads out of the checkpoint", "a link to a directory, or to nothing"
    assert files.skipped == {
        "outside": out,
        "sibling": out,
        "folder": nothing,
        "dangling": nothing,
        "loop": nothing,
        "first": nothing,
        "second": nothing,
    }
    with pytest.raises(CorruptError, match="leads out") as caught:
        files.read("outside")
    assert caught.value.code == "CK005"


def test_a_snapshot_of_the_hugging_face_cache_reads_its_blobs_and_no_other(tmp_path):
    home = tmp_path / "models--org--name"
    snapshot = home / "snapshots" / "abc"
    other = tmp_path / "models--org--other" / "blobs"
    for folder in (snapshot, home / "blobs", other):
        folder.mkdir(parents=True)
    (home / "blobs" / "123").write_bytes(b"weights")
    (other / "456").write_bytes(b"others")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    (snapshot / "other.safetensors").symlink_to("../../../models--org--other/blobs/456")
    files = list_local(str(snapshot))
    assert list(files.entries) == ["model.safetensors"]
    assert files.read("model.safetensors") == b"weights"
    assert "other.safetensors" in files.skipped
    assert list_local(str(snapshot / "model.safetensors")).read("model.safetensors") == b"weights"


def test_a_link_that_a_person_names_is_followed(root, tmp_path):
    (tmp_path / "latest").symlink_to("checkpoint")
    assert list(list_local(str(tmp_path / "latest")).entries) == ["a.bin"]


def test_a_directory_named_like_a_file_is_a_directory(root):
    (root / "model.safetensors").mkdir()
    assert probe(str(root / "model.safetensors")) is LocationKind.DIRECTORY
    assert list(list_local(str(root / "model.safetensors")).entries) == []


def test_a_named_pipe_or_device_is_refused_at_once(root):
    os.mkfifo(root / "pipe")
    (root / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        for ask in (probe, list_local):
            with pytest.raises(CorruptError, match="not a regular file") as caught:
                ask(str(root / name))
            assert (caught.value.code, caught.value.exit_code) == ("CK002", 4)


def test_a_link_to_itself_is_refused(root):
    (root / "loop").symlink_to("loop")
    with pytest.raises(CorruptError, match="leads back to itself"):
        probe(str(root / "loop"))


@pytest.mark.parametrize("name", ["nothing", "a.bin/below", "a.bin/", "dangling", "x" * 300, "nul\0byte", "\ud800"])
def test_what_is_not_there_is_exit_3(root, name):
    (root / "dangling").symlink_to("nothing")
    assert probe(f"{root}/{name}") is None
    with pytest.raises(CheckpointNotFoundError, match="check the name") as caught:
        list_local(f"{root}/{name}")
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, FileNotFoundError)


def test_what_may_not_be_read_is_exit_5_and_not_absent(anyones_folder):
    (anyones_folder / "locked").mkdir(mode=0o700)
    (anyones_folder / "closed").write_bytes(b"x")
    (anyones_folder / "closed").chmod(0o000)
    with as_nobody():
        for name in ("locked/inside", "locked"):
            with pytest.raises(UnreachableError, match="permission denied; ask its owner") as caught:
                list_local(str(anyones_folder / name))
            assert caught.value.exit_code == 5
        files = list_local(str(anyones_folder))
        assert files.skipped == {"closed": "permission denied", "locked": "permission denied"}
        with pytest.raises(UnreachableError, match="closed: permission denied"):
            files.head("closed")


@pytest.mark.parametrize("name", [b"new\nline", b"\x1b[31mred", b"\xff\xfe", "übung".encode(), b" ", b"a\\b", b"#x?y"])
def test_any_name_that_a_disk_can_hold_is_listed_and_read(root, name):
    with open(os.path.join(os.fsencode(root), name), "wb") as file:
        file.write(b"odd")
    files = list_local(str(root))
    assert files.read(os.fsdecode(name)) == b"odd"


def test_a_listing_has_a_limit(root):
    (root / "sub").mkdir()
    (root / "sub" / "pipe").symlink_to("nowhere")
    with knobs.override(listing_limit=3):
        assert list(list_local(str(root)).entries) == ["a.bin"]
    with knobs.override(listing_limit=2), pytest.raises(BudgetError, match="more than 2 files") as caught:
        list_local(str(root))
    assert caught.value.exit_code == 8


def test_a_file_that_is_cut_after_the_listing_is_no_damage(root):
    files = list_local(str(root))
    os.truncate(root / "a.bin", 4)
    for read in (lambda: files.read("a.bin", 0, 4), lambda: list(files.read_many([ByteRange("a.bin", 2, 5)]))):
        with pytest.raises(ReplacedError, match="was replaced while it was read; run it again") as caught:
            read()
        assert (caught.value.code, caught.value.path, caught.value.exit_code) == ("MO001", "a.bin", 5)


@pytest.mark.parametrize("again", [b"9876543210", b"short", b""])
def test_a_file_that_is_written_to_between_two_reads_is_never_read_as_a_mixture(root, again):
    files = list_local(str(root))
    assert files.read("a.bin", 0, 4) == b"0123"
    (root / "a.bin").write_bytes(again)
    with pytest.raises(ReplacedError, match="was changed while it was read"):
        files.read("a.bin", 4, 4)


def test_a_file_of_the_same_size_under_the_name_of_one_that_was_read_is_noticed_at_the_end(root, tmp_path):
    files = list_local(str(root))
    assert files.read("a.bin", 0, 4) == b"0123"
    (tmp_path / "other").write_bytes(b"9876543210")
    os.replace(tmp_path / "other", root / "a.bin")
    assert files.read("a.bin", 4, 4) == b"4567", "what was opened stays open"
    with pytest.raises(ReplacedError, match=r"a\.bin: was replaced"):
        files.check_unchanged()


def test_what_nobody_read_may_change_unless_something_was_wrong(root):
    (root / "b.bin").write_bytes(b"a line")
    files = list_local(str(root))
    files.read("a.bin", 0, 4)
    with open(root / "b.bin", "ab") as log:
        log.write(b"another line")
    files.check_unchanged()
    files.check_unchanged(failed=True)
    with pytest.raises(ReplacedError):
        files.check_unchanged(failed=True, suspects=["b.bin"])
    (root / "new.bin").touch()
    files.check_unchanged()
    with pytest.raises(ReplacedError):
        files.check_unchanged(failed=True)


def test_what_is_read_below_counts_above(root):
    (root / "step").mkdir()
    (root / "step" / "b.bin").write_bytes(b"abc")
    files = list_local(str(root))
    below = files.below("step")
    name = next(iter(below.entries))
    below.read(name, 0, 1)
    (root / "step" / name).unlink()
    for listing in (files, below):
        with pytest.raises(ReplacedError, match="was removed"):
            listing.check_unchanged()


def test_a_seal_that_comes_or_goes_explains_an_error(root):
    files = list_local(str(root))
    assert files.beside("x.ckpt.json") is None
    files.check_unchanged(failed=True)
    (root / "x.ckpt.json").write_bytes(b"{}")
    with pytest.raises(ReplacedError):
        files.check_unchanged(failed=True)


def test_a_file_that_is_deleted_after_the_listing_is_no_damage(root):
    files = list_local(str(root))
    (root / "a.bin").unlink()
    with pytest.raises(ReplacedError) as caught:
        files.head("a.bin")
    assert caught.value.code == "CK003"


def test_a_file_that_becomes_something_else_after_the_listing_is_corrupt(root, tmp_path):
    for change in (os.mkfifo, lambda path: os.symlink("/etc/passwd", path), os.mkdir):
        path = root / "b.bin"
        path.write_bytes(b"0123456789")
        files = list_local(str(root))
        path.unlink()
        change(path)
        with pytest.raises(CorruptError) as caught:
            files.read("b.bin")
        assert caught.value.code == "CK002"
        path.rmdir() if path.is_dir() else path.unlink()


def test_ranges_are_read_in_the_order_asked(root):
    (root / "b.bin").write_bytes(b"abcdef")
    files = list_local(str(root))
    ranges = [ByteRange("b.bin", 4, 2), ByteRange("a.bin", 0, 3), ByteRange("b.bin", 0, 1), ByteRange("a.bin", 10, 0)]
    assert list(files.read_many(ranges)) == [b"ef", b"012", b"a", b""]


@pytest.mark.parametrize(("offset", "length"), [(0, 11), (10, 1), (11, 0), (-1, 1), (0, 1 << 60)])
def test_a_range_that_leaves_the_file_is_corrupt_before_memory_is_taken(root, offset, length):
    files = list_local(str(root))
    with pytest.raises(CorruptError) as caught:
        list(files.read_many([ByteRange("a.bin", offset, length)]))
    assert caught.value.code == "CK004"


@pytest.mark.parametrize("path", ["nothing", "../checkpoint/a.bin", "/etc/passwd", "sub/../a.bin", "./a.bin", ""])
def test_a_path_that_is_not_listed_is_never_opened(root, path):
    files = list_local(str(root))
    asks = [
        lambda: files.size(path),
        lambda: files.head(path),
        lambda: files.local_path(path),
        lambda: files.read(path, 0, 1),
        lambda: list(files.read_many([ByteRange(path, 0, 1)])),
    ]
    for ask in asks:
        with pytest.raises(CorruptError) as caught:
            ask()
        assert (caught.value.code, caught.value.exit_code) == ("CK005", 4)


def test_below_gives_a_directory_or_a_file_of_the_listing(root):
    (root / "step" / "deep").mkdir(parents=True)
    (root / "step" / "deep" / "x").write_bytes(b"xx")
    (root / "step" / "link").symlink_to("../a.bin")
    (root / "step" / "gone").symlink_to("nothing")
    (root / "step-2").write_bytes(b"")
    files = list_local(str(root))
    step = files.below("step")
    assert (str(step.location), step.location.kind) == (f"{root}/step", LocationKind.DIRECTORY)
    assert list(step.entries) == ["deep/x", "link"]
    assert list(step.skipped) == ["gone"]
    assert (step.read("link"), step.read("deep/x")) == (b"0123456789", b"xx")
    one = files.below("step/deep/x")
    assert (str(one.location), one.location.kind, dict(one.entries)) == (
        f"{root}/step/deep/x",
        LocationKind.FILE,
        {"x": step.below("deep").entries["x"]},
    )
    assert one.read("x") == b"xx"
    assert files.below("step/link").read("link") == b"0123456789"
    assert files.below("") is files
    assert dict(files.below("nothing").entries) == {}


def test_threads_read_through_one_listing(root):
    for number in range(100):  # more than are kept open
        (root / f"{number:03}").write_bytes(bytes([number]) * 1000)
    files = list_local(str(root))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda n: files.read(f"{n % 100:03}", n % 900, 100), range(3000)))
    assert read == [bytes([n % 100]) * 100 for n in range(3000)]


def test_descriptors_are_few_and_closed_with_the_listing(root):
    for number in range(100):
        (root / f"{number:03}").write_bytes(b"x")
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    files = list_local(str(root))
    for path in files.entries:
        files.head(path)
    assert 0 < len(os.listdir("/proc/self/fd")) - before <= regular.KEPT_OPEN + 1  # and the folder
    del files
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_gone_before_it_is_looked_at_is_absent_and_not_denied(tmp_path, monkeypatch):
    for name in ("kept.pt", "gone.pt"):
        (tmp_path / name).write_bytes(b"x")
    inner = os.access

    def access(path, *rest, **how):
        if str(path).endswith("gone.pt"):
            os.path.exists(path) and os.unlink(path)
        return inner(path, *rest, **how)

    monkeypatch.setattr(os, "access", access)
    files = list_local(str(tmp_path))
    assert list(files.entries) == ["kept.pt"] and not files.skipped

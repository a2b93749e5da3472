import subprocess
import sys

import pytest

from ckpt_core import knobs
from ckpt_core.errors import (
    BudgetError,
    CheckpointNotFoundError,
    CorruptError,
    ReplacedError,
    UnreachableError,
    UnsafeContentError,
    UnsupportedFormatError,
    UsageError,
)
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.files.coalescing import TOGETHER, TOGETHER_BYTES, batches
from ckpt_core.storage.listing import list_files, probe
from ckpt_core.storage.remote.failures import as_ckpt_error


@pytest.fixture
def run(memory):
    memory.pipe({"/run/a.bin": b"0123456789", "/run/step/b.bin": b"abcdef", "/run-2/c.bin": b"c", "/run/empty": b""})
    return "memory://run"


def test_a_directory_is_listed_with_sizes_in_the_order_of_paths(run):
    assert probe(run) is LocationKind.DIRECTORY
    files = list_files(run)
    assert files.location.kind is LocationKind.DIRECTORY
    assert {path: entry.size for path, entry in files.entries.items()} == {"a.bin": 10, "empty": 0, "step/b.bin": 6}
    assert list(files.entries) == sorted(files.entries)
    assert files.local_path("a.bin") is None


def test_a_file_is_a_listing_of_itself(run):
    assert probe(f"{run}/a.bin") is LocationKind.FILE
    files = list_files(f"{run}/a.bin")
    assert files.location.kind is LocationKind.FILE
    assert list(files.entries) == ["a.bin"]
    assert files.read("a.bin", 3, 4) == b"3456"
    assert files.head("a.bin") == b"0123456789"


def test_what_is_not_there_is_exit_3(run):
    assert probe("memory://nothing") is None
    with pytest.raises(CheckpointNotFoundError) as caught:
        list_files("memory://nothing")
    assert caught.value.exit_code == 3


def test_reads_give_the_bytes_that_were_asked(run):
    files = list_files(run)
    with knobs.override(slab_bytes=1):
        assert files.read("a.bin") == b"0123456789"
    ranges = [ByteRange("step/b.bin", 4, 2), ByteRange("a.bin", 0, 3), ByteRange("empty", 0, 0)] * 50
    assert list(files.read_many(ranges)) == [b"ef", b"012", b""] * 50
    assert list(files.read_many([])) == []


def test_ranges_are_asked_for_in_batches_of_bounded_size():
    small = [ByteRange("x", 0, 1)] * (2 * TOGETHER + 1)
    assert [len(batch) for batch in batches(small)] == [TOGETHER, TOGETHER, 1]
    large = [ByteRange("x", 0, TOGETHER_BYTES)] * 3
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]


@pytest.mark.parametrize("path", ["nothing", "../run-2/c.bin", "/run/a.bin", "step/../a.bin", ""])
def test_a_path_that_is_not_listed_is_never_asked_for(run, path):
    files = list_files(run)
    for ask in (lambda: files.size(path), lambda: files.head(path), lambda: files.read(path, 0, 1)):
        with pytest.raises(CorruptError) as caught:
            ask()
        assert caught.value.code == "CK005"
    with pytest.raises(CorruptError):
        list(files.read_many([ByteRange(path, 0, 1)]))


def test_an_object_that_is_cut_after_the_listing_is_an_error(run, memory):
    files = list_files(run)
    memory.pipe("/run/a.bin", b"0123")
    with pytest.raises(UnreachableError, match="sent 4 bytes where 10 were asked"):
        files.read("a.bin")


def test_an_object_that_is_deleted_after_the_listing_is_no_damage(run, memory):
    files = list_files(run)
    memory.rm("/run/a.bin")
    with pytest.raises(ReplacedError) as caught:
        list(files.read_many([ByteRange("a.bin", 0, 1)]))
    assert caught.value.code == "CK003"


def test_below_gives_a_directory_or_a_file_of_the_listing(run):
    files = list_files(run)
    step = files.below("step")
    assert (str(step.location), step.location.kind, list(step.entries)) == (
        f"{run}/step",
        LocationKind.DIRECTORY,
        ["b.bin"],
    )
    assert step.read("b.bin") == b"abcdef"
    one = files.below("step/b.bin")
    assert (str(one.location), one.location.kind, list(one.entries)) == (
        f"{run}/step/b.bin",
        LocationKind.FILE,
        ["b.bin"],
    )
    assert one.read("b.bin", 1, 2) == b"bc"
    assert files.below("") is files


def test_a_listing_has_a_limit(run):
    with knobs.override(listing_limit=2), pytest.raises(BudgetError, match="more than 2 files"):
        list_files(run)


def test_names_that_lead_out_are_left_out(run, memory):
    memory.store["/run/../escape"] = memory.store["/run/a.bin"]
    memory.store["/run/step//twice"] = memory.store["/run/a.bin"]
    files = list_files(run)
    assert set(files.entries) == {"a.bin", "empty", "step/b.bin"}
    assert "../escape" in files.skipped or "step//twice" in files.skipped


SECRET_URLS = [
    "{}://me:hunter2@host/path?token=s3cr3t",
    "{}://me:hun/ter2@host/path?sig=s3cr3t#x",
    "simplecache::{}://me:hunter2@host/path?token=s3cr3t",
    "zip://inner::{}://me:hunter2@host/path?token=s3cr3t",
]


@pytest.mark.parametrize("shape", SECRET_URLS)
@pytest.mark.parametrize("scheme", ["s3", "gs", "ftp", "reference", "file", "wandb", "ssh"])
def test_no_secret_of_a_url_that_is_refused_is_shown(scheme, shape):
    url = shape.format(scheme)
    for ask in (probe, list_files):
        with pytest.raises((UnsafeContentError, UnsupportedFormatError, UsageError)) as caught:
            ask(url)
        said = f"{caught.value} {caught.value!r} {vars(caught.value)}"
        for secret in ("hunter2", "hun/ter2", "s3cr3t", "me:"):
            assert secret not in said
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("url", ["reference://x", "ftp://host/x", "simplecache::s3://b/k", "zip://x::/etc/passwd"])
def test_other_schemes_and_chains_are_unsafe(url):
    with pytest.raises(UnsafeContentError) as caught:
        probe(url)
    assert caught.value.exit_code == 7


@pytest.mark.parametrize(("url", "module", "package"), [("s3://b/k", "s3fs", "s3fs"), ("gs://b/k", "gcsfs", "gcsfs")])
def test_a_missing_package_is_exit_6_and_named(url, module, package):
    without = f"import sys; sys.modules[{module!r}] = None; from ckpt_core.cli.main import main; sys.exit(main())"
    run = subprocess.run([sys.executable, "-c", without, "inspect", url], capture_output=True, text=True)
    assert run.returncode == 6
    assert f"pip install {package}" in run.stderr


class HubError(OSError):
    """As huggingface_hub raises: the status is the response's."""

    def __init__(self, status):
        super().__init__("https://me:hunter2@hub/x?token=s3cr3t")
        self.response = type("Response", (), {"status_code": status})()


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (FileNotFoundError("x?s3cr3t"), 3, "nothing there"),
        (HubError(404), 3, "nothing there"),
        (PermissionError("s3cr3t"), 5, "access denied"),
        (HubError(401), 5, "access denied"),
        (HubError(500), 5, "HTTP 500"),
        (TimeoutError("s3cr3t"), 5, "no answer within"),
        (ConnectionResetError("s3cr3t"), 5, "ConnectionResetError"),
        (CorruptError("as it is"), 4, "as it is"),
    ],
)
def test_what_a_filesystem_raises_is_told_in_our_words(error, exit_code, said):
    found = as_ckpt_error(error, "s3://me:hunter2@host/x?token=s3cr3t")
    assert found.exit_code == exit_code
    assert said in str(found)
    assert "s3cr3t" not in str(found)
    assert "hunter2" not in str(found)

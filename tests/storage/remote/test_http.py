import gzip
import logging
import random
import subprocess
import sys
import time

import pytest

from ckpt_core import knobs
from ckpt_core.errors import (
    CheckpointNotFoundError,
    CkptError,
    CorruptError,
    ReplacedError,
    UnreachableError,
    UsageError,
)
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.tensors import ByteRange
from ckpt_core.storage.listing import list_files, probe

NAME = "model.safetensors"
DATA = random.Random(1).randbytes(300_000)


@pytest.fixture
def server(http):
    with http.serve({NAME: DATA, "empty.bin": b"", "a b.bin": b"abc"}) as running:
        yield running


def test_an_object_is_a_file_of_its_size_named_after_the_last_part_of_its_path(server):
    url = server.url(NAME, query="?path=a/b.bin")
    assert probe(url) is LocationKind.FILE
    files = list_files(url)
    assert {path: entry.size for path, entry in files.entries.items()} == {NAME: len(DATA)}


def test_reads_give_the_bytes_that_were_asked(server):
    files = list_files(server.url(NAME))
    assert files.head(NAME) == DATA[: 64 * 1024]
    assert files.read(NAME, 1000, 5) == DATA[1000:1005]
    with knobs.override(slab_bytes=1000):
        assert files.read(NAME) == DATA
    ranges = [ByteRange(NAME, offset, length) for offset, length in ((9, 1), (0, 0), (5, 3000), (299_999, 1))]
    assert list(files.read_many(ranges)) == [DATA[r.offset : r.end] for r in ranges]


def test_an_upper_case_scheme_is_the_same_scheme(server):
    assert list_files(server.url(NAME).replace("http", "HTTP")).read(NAME, 0, 3) == DATA[:3]


def test_an_empty_object_is_an_empty_file(server):
    files = list_files(server.url("empty.bin"))
    assert files.size("empty.bin") == 0
    assert files.head("empty.bin") == b""


def test_a_range_beyond_the_end_is_refused_without_asking(server):
    files = list_files(server.url(NAME))
    before = len(server.requests)
    with pytest.raises(CorruptError) as caught:
        files.read(NAME, len(DATA) - 1, 2)
    assert caught.value.code == "CK004"
    with pytest.raises(CorruptError):
        list(files.read_many([ByteRange(NAME, -1, 2)]))
    assert len(server.requests) == before


def test_a_missing_object_is_exit_3(server):
    assert probe(server.url("nothing")) is None
    with pytest.raises(CheckpointNotFoundError) as caught:
        list_files(server.url("nothing"))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("code", [401, 403])
def test_a_refusal_is_exit_5_and_says_access_denied(http, server, code):
    server.faults[NAME] = http.status(code)
    for ask in (probe, list_files):
        with pytest.raises(UnreachableError, match="access denied") as caught:
            ask(server.url(NAME))
        assert caught.value.exit_code == 5


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_failing_server_is_exit_5_and_not_a_missing_object(http, server, code):
    server.faults[NAME] = http.status(code)
    with pytest.raises(UnreachableError, match=f"HTTP {code}"):
        probe(server.url(NAME))


def test_a_refused_connection_is_exit_5(http):
    with http.serve({}) as gone:
        url = gone.url(NAME)
    with pytest.raises(UnreachableError, match="check the connection"):
        probe(url)


def test_without_ranges_a_short_object_is_read_whole_and_a_part_of_a_long_one_is_an_error(server):
    server.ranges = False
    server.objects["short"] = b"0123456789"
    short = list_files(server.url("short"))
    assert short.head("short") == b"0123456789"
    with pytest.raises(UnreachableError, match="whole objects, not ranges"):
        short.read("short", 2, 3)
    with pytest.raises(UnreachableError, match="whole objects, not ranges"):
        list_files(server.url(NAME)).head(NAME)


@pytest.mark.parametrize("fault", ["cut_short", "short_length", "reset", "html_page", "other_range"])
@pytest.mark.parametrize("etags", [True, False])
def test_a_faulty_answer_is_an_error_and_never_other_bytes(http, server, fault, etags):
    server.etags = etags
    files = list_files(server.url(NAME))
    server.faults[NAME] = getattr(http, fault)
    with pytest.raises(UnreachableError):
        files.read(NAME, 1000, 500)
    with pytest.raises(UnreachableError):
        list(files.read_many([ByteRange(NAME, 2000, 500)]))
    del server.faults[NAME]
    assert files.read(NAME, 1000, 500) == DATA[1000:1500]


@pytest.mark.parametrize("fault", ["stall", "drip"])
def test_an_answer_that_does_not_end_is_given_up_in_time(http, server, fault):
    with knobs.override(remote_timeout=1):
        files = list_files(server.url(NAME))
        server.faults[NAME] = getattr(http, fault)
        start = time.monotonic()
        with pytest.raises(UnreachableError, match="no answer within 1 s"):
            files.read(NAME, 0, 500)
        assert time.monotonic() - start < 60


def test_an_error_page_as_long_as_the_object_is_noticed_by_its_type(http, server):
    server.etags = False
    files = list_files(server.url("a%20b.bin"))
    server.faults["a b.bin"] = http.html_page
    with pytest.raises(UnreachableError, match="another object came"):
        files.read("a%20b.bin")


@pytest.mark.parametrize("other", [DATA[::-1], DATA + b"x", DATA[:-1]])
def test_an_object_that_is_replaced_meanwhile_is_noticed(server, other):
    files = list_files(server.url(NAME))
    server.objects[NAME] = other
    with pytest.raises(UnreachableError, match="another object came"):
        files.read(NAME, 0, 10)


def test_an_object_that_is_deleted_meanwhile_is_no_damage(server):
    files = list_files(server.url(NAME))
    del server.objects[NAME]
    with pytest.raises(ReplacedError, match="was removed while it was read") as caught:
        files.read(NAME, 0, 10)
    assert caught.value.code == "CK003"


def test_a_compressed_answer_is_refused(server):
    files = list_files(server.url(NAME))
    server.faults[NAME] = lambda handler, data, start, end: handler.part(
        data, start, end, body=gzip.compress(data[start:end]), **{"Content-Encoding": "gzip"}
    )
    with pytest.raises(UnreachableError, match="compresses"):
        files.read(NAME, 0, 10)


def test_a_size_that_is_not_told_is_an_error(server):
    def untold(handler, data, start, end):
        handler.answer(206, data, data[:1], **{"Content-Range": "bytes 0-0/*"})

    server.faults[NAME] = untold
    with pytest.raises(UnreachableError, match="does not say how long"):
        list_files(server.url(NAME))


@pytest.mark.parametrize("url", ["http://", "http://[x/y", "http://host:port/x", "https://:80/x"])
def test_a_broken_url_is_a_usage_error(url):
    with pytest.raises(UsageError, match="not a valid URL"):
        probe(url)


@pytest.mark.parametrize("fault", ["cut_short", "short_length", "reset", "html_page", "other_range", 403, 500, None])
def test_no_secret_of_the_url_is_ever_shown(http, server, fault, caplog):
    from fsspec.asyn import get_loop  # its loop logs at DEBUG; what is looked at here is what is said of the URL

    get_loop()
    caplog.set_level(logging.DEBUG)
    url = server.url(NAME, userinfo="me:hunter2@", query="?token=s3cr3t&X-Amz-Signature=s3cr3t")
    files = list_files(url)
    if fault is None:
        del server.objects[NAME]
    else:
        server.faults[NAME] = getattr(http, fault) if isinstance(fault, str) else http.status(fault)
    said = [repr(files.location), str(files.location), repr(files), repr(files.entries)]
    for ask in (lambda: files.read(NAME, 100, 500), lambda: list_files(url), lambda: probe(url)):
        try:
            ask()
        except CkptError as error:
            assert error.__cause__ is None
            assert error.__suppress_context__ or error.__context__ is None
            said += [str(error), repr(error), repr(vars(error))]
    said.append(caplog.text)
    for secret in ("hunter2", "s3cr3t", "me:"):
        assert secret not in "\n".join(said)


def test_neither_a_package_for_http_nor_fsspec_is_imported(server):
    code = f"""
import sys
from ckpt_core.storage.listing import list_files
assert list_files({server.url(NAME)!r}).read({NAME!r}, 0, 5)
print(sorted({{"aiohttp", "fsspec", "httpx", "requests", "urllib3"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "[]\n", ran.stderr

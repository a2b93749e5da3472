"""Torch's zip archives that break a rule of zip files or of torch's use of them."""

from collections.abc import Iterator
from dataclasses import replace
from struct import pack

from tests.integration.bad_input.cases import Case, FoundBy, file_case
from tests.integration.bad_input.pickle_bytes import pickled, storage, tensor
from tests.integration.bad_input.zip_bytes import Rec, zip_of

CORRUPT, UNSUPPORTED, BUDGET = (4,), (6,), (8,)
DATA0, DATA1 = bytes(range(16)), bytes(range(100, 160))
PICKLE = pickled({"a": tensor(storage("0", 4)), "b": tensor(storage("1", 15), 0, (3, 5), (5, 1))})
PLAIN = (
    Rec("archive/data.pkl", PICKLE),
    Rec("archive/byteorder", b"little"),
    Rec("archive/data/0", DATA0),
    Rec("archive/data/1", DATA1),
    Rec("archive/version", b"3\n"),
)
GOOD = zip_of(PLAIN)
_NAMES = [record.name for record in PLAIN]


def with_pickle(stream: bytes) -> bytes:
    """The good archive with another pickle."""
    return changed("data.pkl", data=stream)


def changed(name: str, /, **fields: object) -> bytes:
    """The good archive with fields of one record changed."""
    at = _NAMES.index(f"archive/{name}")
    return zip_of([*PLAIN[:at], replace(PLAIN[at], **fields), *PLAIN[at + 1 :]])  # type: ignore[arg-type]


def plus(*records: Rec) -> bytes:
    return zip_of([*PLAIN, *records])


def cases() -> Iterator[Case]:
    for name, content, says in (*_ends(), *_directories(), *_names(), *_sizes(), *_records()):
        yield file_case(f"zip: {name}", content, CORRUPT, says, file="model.pth")
    state = with_pickle(pickled({"step": 5, "lr": 0.1}))
    plain = file_case("zip: only plain state", state, CORRUPT, "no tensor", file="m.pth", found_by=FoundBy.LAYOUT)
    yield replace(plain, opens=True)
    for name, content, says in _unsupported():
        yield file_case(f"zip: {name}", content, UNSUPPORTED, says, file="model.pth")
    for name, content, says in _bombs():
        yield file_case(f"zip: {name}", content, (4, 8), says, file="model.pth")
    for name, content in _local_lies():
        yield file_case(f"zip: {name}", content, CORRUPT, "archive", file="model.pth", found_by=FoundBy.LAYOUT)
    for name, content, says in _sums():
        yield file_case(f"zip: {name}", content, CORRUPT, says, file="model.pth", found_by=FoundBy.BYTES)


def _ends() -> Iterator[tuple[str, bytes, str]]:
    yield "bytes before it", zip_of(PLAIN, prefix=b"MZ" + bytes(62)), "model.pth"
    yield "bytes before it, offsets moved", b"PK\x03\x04" + bytes(60) + GOOD, "archive"
    yield "one byte after it", GOOD + b"\0", "archive"
    yield "another archive after it", GOOD + GOOD, "archive"
    yield "a pickle after it", GOOD + PICKLE, "archive"
    yield "a comment", zip_of(PLAIN, comment=b"hello"), "archive"
    yield "a comment that is an end of an archive", zip_of(PLAIN, comment=GOOD[-22:]), "archive"
    yield "claims a comment it lacks", zip_of(PLAIN, comment_length=10), "comment"
    yield "no end", GOOD[:-22], "truncated"
    yield "half an end", GOOD[:-11], "truncated"
    yield "half of it", GOOD[: len(GOOD) // 2], "truncated"
    yield "the first header only", GOOD[:100], "truncated"
    yield "four bytes", GOOD[:4], "model.pth"
    yield "no directory", zip_of(PLAIN, directory_size=0), "archive"
    yield "directory elsewhere", zip_of(PLAIN, directory_offset=0), "directory"
    yield "directory beyond the file", zip_of(PLAIN, directory_offset=0x7FFFFFFF), "directory"
    yield "directory too long", zip_of(PLAIN, directory_size=0x7FFFFFFF), "directory"
    yield "directory one byte short", zip_of(PLAIN, directory_size=len(GOOD) - 300), "directory"
    yield "split over disks", zip_of(PLAIN, disk=1), "disks"
    yield "bytes before the directory", zip_of(PLAIN, before_directory=bytes(16)), "archive"
    yield "bytes after the directory", zip_of(PLAIN, before_end=bytes(16)), "directory"
    yield "a second directory before the first", zip_of(PLAIN, before_directory=GOOD[-22 - 46 :]), "archive"
    for count in (0, 4, 6, 0xFFFF):
        yield f"counts {count} records of 5", zip_of(PLAIN, count=count), "archive"
    locator = pack("<4sIQI", b"PK\x06\x07", 0, 0, 1)
    yield "a 64-bit locator that points to its start", zip_of(PLAIN, before_end=locator), "64-bit"
    end = _wide_end(len(GOOD), count=5)
    yield "a 64-bit end that points beyond the file", zip_of(PLAIN, before_end=end), "archive"
    yield "a 64-bit end of other counts", _with_wide_end(count=4), "contradict"
    yield "a 64-bit end of another offset", _with_wide_end(shift=46), "contradict"
    yield "a 64-bit end of two disks", _with_wide_end(disks=2), "64-bit"
    yield "a 64-bit end without its signature", _with_wide_end(magic=b"PK\x06\x05"), "64-bit"


def _wide_end(
    at: int, *, count: int, size: int = 0, start: int = 0, disks: int = 1, magic: bytes = b"PK\x06\x06"
) -> bytes:
    record = pack("<4sQ2H2I4Q", magic, 44, 45, 45, 0, 0, count, count, size, start)
    return record + pack("<4sIQI", b"PK\x06\x07", 0, at, disks)


def _with_wide_end(*, count: int = 5, shift: int = 0, disks: int = 1, magic: bytes = b"PK\x06\x06") -> bytes:
    start, size = int.from_bytes(GOOD[-6:-2], "little"), int.from_bytes(GOOD[-10:-6], "little")
    wide = _wide_end(start + size, count=count, size=size - shift, start=start + shift, disks=disks, magic=magic)
    return zip_of(PLAIN, before_end=wide)


WIDE = _with_wide_end()
"""The good archive with a truthful 64-bit end."""


def _directories() -> Iterator[tuple[str, bytes, str]]:
    yield "a directory record without its signature", changed("data/0", central_magic=b"PK\x01\x00"), "directory"
    yield "a record on another disk", changed("data/0", disk=1), "archive"
    yield "a record that starts in another", changed("data/1", offset=4), "archive"
    yield "a record that starts beyond the file", changed("data/1", offset=0x7FFFFFF0), "archive"
    yield "a record that starts in the directory", changed("version", offset=len(GOOD) - 30), "archive"
    yield "a record whose 64-bit sizes are missing", changed("data/0", size=0xFFFFFFFF, stored=0xFFFFFFFF), "64 bits"
    wide = pack("<HHQ", 1, 8, 16)
    yield "half a pair of 64-bit sizes", changed("data/0", size=0xFFFFFFFF, stored=0xFFFFFFFF, extra=wide), "64-bit"
    huge = pack("<HHQQ", 1, 16, 1 << 62, 1 << 62)
    yield "64-bit sizes of an exabyte", changed("data/0", size=0xFFFFFFFF, stored=0xFFFFFFFF, extra=huge), "archive"
    yield (
        "records in another order",
        zip_of([replace(PLAIN[0], offset=200), replace(PLAIN[1], offset=0), *PLAIN[2:]]),
        "archive",
    )
    gapped = [*PLAIN[:2], replace(PLAIN[2], gap=b"hidden bytes here"), *PLAIN[3:]]
    yield "bytes between two records", zip_of(gapped), "archive"
    hidden = replace(PLAIN[2], gap=zip_of([Rec("archive/data/7", DATA0)])[:60])
    yield "a record that the directory does not list", zip_of([*PLAIN[:2], hidden, *PLAIN[3:]]), "archive"


def _names() -> Iterator[tuple[str, bytes, str]]:
    yield "two records of one name", plus(Rec("archive/data/0", DATA0)), "one name"
    yield "two pickles", plus(Rec("archive/data.pkl", pickled({}))), "one name"
    yield "two pickles, one in capitals", plus(Rec("archive/DATA.PKL", pickled({}))), "one name"
    yield "two pickles, root in capitals", plus(Rec("ARCHIVE/data.pkl", pickled({}))), "one name"
    for name in (
        "../evil",
        "archive/../../evil",
        "/etc/passwd",
        "archive\\..\\evil",
        "archive/x\0y",
        "C:\\evil",
        "archive/..",
    ):
        yield f"a record named {name!r}", plus(Rec(name, b"x")), "archive"
    yield (
        "a name that is not text",
        plus(Rec("archive/\udcff".encode("utf-8", "surrogateescape").decode("latin1"), b"x")),
        "name",
    )


def _sizes() -> Iterator[tuple[str, bytes, str]]:
    yield "a size of one byte more", changed("data/0", size=17), "archive"
    yield "both sizes one byte more", changed("data/0", size=17, stored=17), "archive"
    yield "both sizes one byte less", changed("data/0", size=15, stored=15), "archive"
    yield "both sizes 4 GiB - 2", changed("data/1", size=0xFFFFFFFE, stored=0xFFFFFFFE), "archive"
    yield "deflated in word only", changed("data.pkl", method=8), "archive"
    yield "stored in word only", changed("data.pkl", deflate=True, method=0), "archive"
    yield "deflated, and longer than it says", changed("data.pkl", deflate=True, size=len(PICKLE) - 1), "inflate"
    yield "deflated, and shorter than it says", changed("data.pkl", deflate=True, size=len(PICKLE) + 1), "inflate"
    yield "a pickle cut short", with_pickle(PICKLE[:-20]), "pickle"
    yield "an empty pickle", with_pickle(b""), "pickle"
    yield "a pickle whose bytes changed", changed("data.pkl", crc=1), "checksum"


def _records() -> Iterator[tuple[str, bytes, str]]:
    without = [record for record in PLAIN if record.name != "archive/data/0"]
    yield "no record for a storage", zip_of(without), "missing"
    yield "an empty record for a storage", changed("data/0", data=b""), "0 bytes"
    yield "a record one byte short", changed("data/0", data=DATA0[:-1]), "15 bytes"
    yield "a record longer than its storage", changed("data/0", data=DATA0 + b"hidden"), "data/0"
    yield "a storage under another root", zip_of([*without, Rec("other/data/0", DATA0)]), "more than one folder"
    yield "no version", zip_of(PLAIN[:-1]), "version"
    for version in (b"", b"0", b"-1", b"x"):
        yield f"version {version!r}", changed("version", data=version), "version"
    yield "a storage alignment that is no number", plus(Rec("archive/.storage_alignment", b"x")), "alignment"
    yield "a file beside its folder", plus(Rec("README.md", b"x")), "more than one folder"
    yield "a second folder with a pickle", plus(Rec("other/data.pkl", PICKLE)), "more than one folder"
    yield "byte order 'middle'", changed("byteorder", data=b"middle"), "byte order"
    yield "an empty byte order", changed("byteorder", data=b""), "byte order"
    yield "a byte order of a megabyte", changed("byteorder", data=b"l" * (1 << 20)), "byte order"


def _unsupported() -> Iterator[tuple[str, bytes, str]]:
    yield "encrypted", changed("data/0", flags=1), "encrypted"
    yield "strongly encrypted", changed("data.pkl", flags=0x41), "encrypted"
    yield "a masked directory", changed("data/0", flags=0x2000), "encrypted"
    yield "deflated tensors", changed("data/0", deflate=True), "compressed"
    for method in (1, 9, 12, 14, 93, 95, 99):
        yield f"compressed by method {method}", changed("data.pkl", method=method), "method"
    yield "no pickle", zip_of(PLAIN[1:]), "data.pkl"
    yield "DATA.PKL instead", changed("data.pkl", name="archive/DATA.PKL"), "data.pkl"
    yield "a pickle at the root", changed("data.pkl", name="data.pkl"), "data.pkl"
    yield "an empty root", zip_of([replace(record, name=record.name.partition("/")[2]) for record in PLAIN]), "data.pkl"
    script = [Rec("archive/constants.pkl", pickled(())), Rec("archive/code/__torch__.py", b"import os")]
    yield "TorchScript without its module", zip_of(script), "data.pkl"
    yield (
        "a Word document",
        zip_of([Rec("[Content_Types].xml", b"<Types/>"), Rec("word/document.xml", b"<w/>")]),
        "model.pth",
    )
    yield "npz", zip_of([Rec("arr_0.npy", b"\x93NUMPY\x01\0" + bytes(120))]), "model.pth"
    yield (
        "keras",
        zip_of([Rec("metadata.json", b"{}"), Rec("config.json", b"{}"), Rec("model.weights.h5", b"\x89HDF")]),
        "model.pth",
    )
    yield "a jar", zip_of([Rec("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\n")]), "model.pth"
    yield (
        "torch.package",
        zip_of([Rec("m/.data/extern_modules", b"sys"), Rec("m/model.py", b"import os"), Rec("m/model.pkl", PICKLE)]),
        "data.pkl",
    )
    yield "a torch version of the future", changed("version", data=b"999999\n"), "version"


def _bombs() -> Iterator[tuple[str, bytes, str]]:
    yield (
        "a pickle that inflates a thousand times",
        changed("data.pkl", data=PICKLE[:-1] + b"0" * 10**7, deflate=True),
        "model.pth",
    )
    yield (
        "a pickle that says it is small and inflates to 64 MB",
        changed("data.pkl", data=bytes(1 << 26), deflate=True, size=1000),
        "model.pth",
    )
    yield "a version that inflates a thousand times", changed("version", data=bytes(1 << 26), deflate=True), "model.pth"
    many = [Rec(f"archive/x/{index}", b"") for index in range(65_000)]
    yield (
        "65,000 records that say 3 GB each",
        zip_of([*PLAIN, *(replace(r, size=3 << 30, stored=3 << 30) for r in many)]),
        "archive",
    )


def _local_lies() -> Iterator[tuple[str, bytes]]:
    yield "another name in the local header", changed("data/0", local_name="archive/data/9")
    yield (
        "two names swapped in the local headers",
        zip_of(
            [
                *PLAIN[:2],
                replace(PLAIN[2], local_name=PLAIN[3].name),
                replace(PLAIN[3], local_name=PLAIN[2].name),
                PLAIN[4],
            ]
        ),
    )
    yield "a name in capitals in the local header", changed("data/0", local_name="archive/DATA/0")
    yield "another pickle's name in the local header", changed("data.pkl", local_name="archive/evil.pkl")
    yield "another size in the local header", changed("data/0", local_size=8)
    yield "a size of 4 GiB in the local header", changed("data/0", local_size=0xFFFFFFFF)
    yield "another checksum in the local header", changed("data/0", local_crc=1)
    yield "another method in the local header", changed("data/0", local_method=8)
    yield "encrypted in the local header", changed("data/0", local_flags=1)
    yield "no signature of the local header", changed("data/0", local_magic=b"PK\x03\x05")
    last = GOOD.rindex(b"PK\x03\x04")
    yield "zeros for a local header", GOOD[:last] + bytes(30) + GOOD[last + 30 :]
    yield "checksums differ in the directory", changed("data/0", crc=1, local_crc=2)


def _sums() -> Iterator[tuple[str, bytes, str]]:
    yield "a wrong checksum in both headers", changed("data/0", crc=1), "data/0"
    for index, (old, tensor_name) in enumerate(((DATA0, "a"), (DATA1, "b"))):
        new = bytes([old[0] ^ 1]) + old[1:]
        yield f"one bit of storage {index} flipped", GOOD.replace(old, new), f"holds {tensor_name}"
        yield f"storage {index} turned to zeros", GOOD.replace(old, bytes(len(old))), f"holds {tensor_name}"
    swapped = GOOD.replace(DATA0, b"\xaa" * 16)
    yield "a storage that is another's bytes", swapped, "checksum"
    yield (
        "a wrong checksum of a record without tensors",
        plus(Rec("archive/.data/serialization_id", b"1234", crc=7)),
        "serialization_id",
    )

"""A zip's table is read under rules that leave two readers no room to differ, and proven against the bytes."""

import io
import struct
import zipfile

import pytest
import torch

import ckpt_core
from ckpt_core import BudgetError, CkptError, CorruptError, UnsupportedFormatError, knobs
from ckpt_core.codecs.zip.checks import check_crcs, check_local_headers, read_member
from ckpt_core.codecs.zip.directory import read_archive


@pytest.fixture
def place(tmp_path):
    def write(content):
        (tmp_path / "x.pth").write_bytes(content)
        return ckpt_core.list_files(str(tmp_path / "x.pth"))

    return write


@pytest.fixture
def checked(place):
    """The members of a zip file, all its local headers proven."""

    def read(content):
        files = place(content)
        members = read_archive(files, "x.pth")
        check_local_headers(files, "x.pth", list(members.values()))
        return members

    return read


def zip_of(*records, mode=zipfile.ZIP_STORED, comment=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", mode) as archive:
        for name, content in records:
            archive.writestr(name, content)
        archive.comment = comment
    return out.getvalue()


GOOD = zip_of(("x/data.pkl", b"N."), ("x/data/0", b"01234567"), ("x/empty", b""))


def patched(content, at, replacement):
    return content[:at] + replacement + content[at + len(replacement) :]


def central(content, record=0):
    """Where a record of the directory starts."""
    at = -1
    for _ in range(record + 1):
        at = content.index(b"PK\x01\x02", at + 1)
    return at


def in_central(content, offset, layout, value, record=0):
    return patched(content, central(content, record) + offset, struct.pack(layout, value))


@pytest.fixture(params=[True, False], ids=["with checksums", "without"])
def checksums(request):
    torch.serialization.set_crc32_options(request.param)
    yield request.param
    torch.serialization.set_crc32_options(True)


@pytest.mark.parametrize("count", [1, 40, 400])
def test_derived_places_are_those_that_the_local_headers_tell(checksums, checked, saved, count):
    content = saved({f"t{index}": torch.ones(index * 7 % 50, dtype=torch.uint8) for index in range(count)})
    members = checked(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            name, extra = struct.unpack_from("<HH", content, info.header_offset + 26)
            assert members[info.filename].data_offset == info.header_offset + 30 + name + extra
            assert members[info.filename].size == info.file_size


def test_places_are_derived_without_reading_the_local_headers(place, saved):
    content = saved({f"t{index}": torch.zeros(3) for index in range(2000)})
    files = place(content)
    read = []
    files.read_many = lambda ranges: read.extend(ranges) or iter(())
    assert len(read_archive(files, "x.pth")) > 2000
    assert read == []


@pytest.mark.parametrize("alignment", [64, 4096])
def test_padding_of_any_alignment_is_understood(checked, alignment):
    from torch.utils.serialization import config

    with config.patch({"save.storage_alignment": alignment}):
        out = io.BytesIO()
        torch.save({"a": torch.zeros(5), "b": torch.ones(3), "e": torch.zeros(0)}, out)
    members = checked(out.getvalue())
    assert [members[f"archive/data/{key}"].data_offset % alignment for key in "012"] == [0, 0, 0]


def test_archives_of_other_writers_are_read(checked):
    streamed = io.BytesIO()
    streamed.seekable = lambda: False
    with zipfile.ZipFile(streamed, "w") as archive:
        archive.writestr("x/data.pkl", b"N.")
        archive.writestr("x/data/0", b"0123")
    wide = io.BytesIO()
    with zipfile.ZipFile(wide, "w") as archive, archive.open("x/data.pkl", "w", force_zip64=True) as record:
        record.write(b"N.")
    for content in (GOOD, streamed.getvalue(), wide.getvalue()):
        for name, member in checked(content).items():
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                assert content[member.data_offset : member.end] == archive.read(name)


def test_an_archive_with_64_bit_ends_is_read(checked):
    assert list(checked(with_end64(GOOD))) == ["x/data.pkl", "x/data/0", "x/empty"]


def with_end64(content, **lies):
    end = len(content) - 22
    _, _, _, _, count, length, start, _ = struct.unpack("<4s4H2IH", content[end:])
    values = {"count": count, "length": length, "start": start, "at": end} | lies
    wide = struct.pack(
        "<4sQ2H2I4Q",
        b"PK\x06\x06",
        44,
        45,
        45,
        0,
        0,
        values["count"],
        values["count"],
        values["length"],
        values["start"],
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, values["at"], 1)
    narrow = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:end] + wide + locator + narrow


CORRUPT = {
    "empty": b"",
    "only a start": GOOD[:10],
    "bytes before": b"MZ" + GOOD,
    "bytes behind": GOOD + b"\0",
    "another archive behind": GOOD + GOOD,
    "a comment": zip_of(("x/data.pkl", b"N."), comment=b"hi"),
    "two of one name": zip_of(("x/data/0", b"N."), ("x/data/1", b"M.")).replace(b"x/data/1", b"x/data/0"),
    "two of one name but for case": zip_of(("x/data.pkl", b"N."), ("x/DATA.pkl", b"M.")),
    "a name that leads out": zip_of(("x/data.pkl", b"N."), ("x/../../etc", b"M.")),
    "an absolute name": zip_of(("/data.pkl", b"N.")),
    "a name with a backslash": zip_of(("x/data.pkl", b"N."), ("x/a", b"")).replace(b"x/a", b"x\\a"),
    "a second disk": in_central(GOOD, 34, "<H", 1),
    "disks in the end": patched(GOOD, len(GOOD) - 18, b"\1\0"),
    "more records than there are": patched(GOOD, len(GOOD) - 14, b"\4\0\4\0"),
    "fewer records than there are": patched(GOOD, len(GOOD) - 14, b"\2\0\2\0"),
    "counts that differ": patched(GOOD, len(GOOD) - 14, b"\2\0"),
    "a directory elsewhere": patched(GOOD, len(GOOD) - 6, b"\0\0\0\0"),
    "a size beyond the file": in_central(in_central(GOOD, 20, "<I", 1 << 20), 24, "<I", 1 << 20),
    "a size that overlaps": in_central(in_central(GOOD, 20, "<I", 60), 24, "<I", 60),
    "a size with a gap behind": in_central(in_central(GOOD, 20, "<I", 1), 24, "<I", 1),
    "stored sizes that differ": in_central(GOOD, 20, "<I", 1),
    "records that swap places": in_central(in_central(GOOD, 42, "<I", 42), 42, "<I", 0, record=1),
    "a header beyond the file": in_central(GOOD, 42, "<I", 1 << 30, record=2),
    "an end that lies of its place": with_end64(GOOD, at=0),
    "an end that lies of its count": with_end64(GOOD, count=1 << 40),
    "an end that lies of its length": with_end64(GOOD, length=1 << 62),
    "an end that lies of its start": with_end64(GOOD, start=1 << 62),
    "64-bit sizes that are not there": in_central(GOOD, 24, "<I", 0xFFFFFFFF),
    "a name that is not text": GOOD.replace(b"x/empty", b"x/\xff\xfety"),
    "another name in the header": patched(GOOD, 30, b"y/data.pkl"),
    "another size in the header": patched(GOOD, 22, b"\7"),
    "another checksum in the header": patched(GOOD, 14, b"\7"),
    "another method in the header": patched(GOOD, 8, b"\x08"),
    "no header": patched(GOOD, 0, b"PK\x03\x05"),
}


@pytest.mark.parametrize("name", CORRUPT)
def test_a_zip_that_breaks_a_rule_is_corrupt(checked, name):
    with pytest.raises(CorruptError) as refused:
        checked(CORRUPT[name])
    assert refused.value.code in ("ZP001", "ZP003")
    assert refused.value.message.startswith("x.pth: ")


@pytest.mark.parametrize(
    "content",
    [in_central(GOOD, 8, "<H", 1), in_central(GOOD, 8, "<H", 0x2041), in_central(GOOD, 10, "<H", 93)],
    ids=["encrypted", "masked", "zstd"],
)
def test_features_that_no_checkpoint_needs_are_unsupported(checked, content):
    with pytest.raises(UnsupportedFormatError) as refused:
        checked(content)
    assert refused.value.code == "ZP002"


def test_a_header_that_lies_in_a_file_of_torch_is_found_by_the_check_alone(place, saved):
    content = saved({"a": torch.zeros(3)})
    files = place(content.replace(b"archive/data/0", b"archive/data/1", 1))
    members = read_archive(files, "x.pth")
    with pytest.raises(CorruptError, match="disagree on its name") as refused:
        check_local_headers(files, "x.pth", list(members.values()))
    assert refused.value.code == "ZP003"


def test_every_truncation_is_refused(checked, saved):
    content = saved({"a": torch.arange(10), "b": torch.ones(2)})
    for end in {*range(0, len(content), 17), *range(len(content) - 60, len(content))}:
        with pytest.raises(CkptError):
            checked(content[:end])


def test_a_deflated_record_is_inflated_up_to_a_ratio(place):
    files = place(zip_of(("x/data.pkl", b"abc" * 50), mode=zipfile.ZIP_DEFLATED))
    (member,) = read_archive(files, "x.pth").values()
    assert read_member(files, "x.pth", member) == b"abc" * 50
    files = place(zip_of(("x/data.pkl", b"a" * 10_000_000), mode=zipfile.ZIP_DEFLATED))
    (member,) = read_archive(files, "x.pth").values()
    with pytest.raises(BudgetError):
        read_member(files, "x.pth", member)


def test_a_deflated_record_that_lies_of_its_size_is_corrupt(place):
    content = zip_of(("x/data.pkl", b"abc" * 50), mode=zipfile.ZIP_DEFLATED)
    for size in (149, 151):
        files = place(in_central(content, 24, "<I", size))
        (member,) = read_archive(files, "x.pth").values()
        with pytest.raises(CorruptError):
            read_member(files, "x.pth", member)


def test_a_directory_larger_than_the_limit_is_over_budget(place):
    with knobs.override(header_limit=100), pytest.raises(BudgetError, match="CKPT_HEADER_LIMIT"):
        read_archive(place(GOOD), "x.pth")
    with knobs.override(listing_limit=2), pytest.raises(BudgetError, match="CKPT_LISTING_LIMIT"):
        read_archive(place(GOOD), "x.pth")


def findings(place, content):
    files = place(content)
    members = list(read_archive(files, "x.pth").values())
    return list(check_crcs(files, "x.pth", members, stored_in=lambda member: [f"of {member.name}", "b", "c", "d"]))


@pytest.mark.parametrize("slab", [1, 7, 64, 1 << 20])
def test_a_changed_byte_is_found_and_names_its_record_and_tensors(place, slab):
    with knobs.override(slab_bytes=slab):
        assert findings(place, GOOD) == []
        (found,) = findings(place, patched(GOOD, GOOD.index(b"01234567"), b"8"))
    assert (found.code, found.tensor) == ("ZP004", "of x/data/0")
    assert "(holds of x/data/0, b, c, …)" in found.message


def test_a_changed_small_record_is_refused_when_it_is_read(place):
    files = place(patched(GOOD, GOOD.index(b"N."), b"M"))
    with pytest.raises(CorruptError) as refused:
        read_member(files, "x.pth", read_archive(files, "x.pth")["x/data.pkl"])
    assert refused.value.code == "ZP004"


def test_records_without_checksums_are_counted(place, saved, checksums):
    found = findings(place, saved({"a": torch.arange(10)}))
    assert [finding.code for finding in found] == ([] if checksums else ["ZP005"])


def test_checksums_of_deflated_records_are_of_what_they_inflate_to(place):
    content = zip_of(("x/data.pkl", b"abc" * 500), mode=zipfile.ZIP_DEFLATED)
    assert findings(place, content) == []
    (found,) = findings(place, in_central(content, 16, "<I", 7))
    assert found.code == "ZP004"

"""A torch zip must have what torch's reader asks for, and what is in it besides is named; torch is the oracle."""

import io
import json
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch

import ckpt_core
from ckpt_core.cli.main import main
from ckpt_core.errors import CorruptError
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal


@pytest.fixture
def records(saved):
    """The records of a file that torch.save wrote, by their names below the root."""
    with zipfile.ZipFile(io.BytesIO(saved({"w": torch.arange(4.0), "b": torch.ones(2)}))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path, records):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return str(path)


def torch_refuses(path):
    try:
        torch.load(path, weights_only=True)
    except (RuntimeError, ValueError):
        return True
    return False


def without(records, *names):
    return {name: content for name, content in records.items() if name not in names}


BROKEN = {
    "no version": ("ZP007", lambda r: without(r, "archive/version")),
    "a version elsewhere": ("ZP007", lambda r: {**without(r, "archive/version"), "archive/data/version": b"3\n"}),
    "version 0": ("TF001", lambda r: {**r, "archive/version": b"0"}),
    "version -1": ("TF001", lambda r: {**r, "archive/version": b"-1"}),
    "an empty version": ("TF001", lambda r: {**r, "archive/version": b""}),
    "the other record of the version damaged": ("TF001", lambda r: {**r, "archive/.data/version": b"x"}),
    "an alignment that is no number": ("TF001", lambda r: {**r, "archive/.storage_alignment": b"x"}),
    "a second root": ("ZP006", lambda r: {**r, "other/notes.txt": b"x"}),
    "two whole archives in one": ("ZP006", lambda r: {**r, **{f"two{n[7:]}": c for n, c in r.items()}}),
    "a record in no folder": ("ZP006", lambda r: {**r, "README.md": b"x"}),
    "what macOS packs with a folder": ("ZP006", lambda r: {**r, "__MACOSX/archive/._data.pkl": b"\0\5\x16\7"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_torch_refuses_is_refused_with_the_reason(name, records, tmp_path):
    code, change = BROKEN[name]
    path = packed(tmp_path / "x.pth", change(records))
    assert torch_refuses(path)
    with pytest.raises(CorruptError) as error:
        ckpt_core.load(path)
    assert (error.value.code, error.value.exit_code) == (code, 4)


@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
@pytest.mark.parametrize("name", ["no version", "a version elsewhere"])
def test_the_cure_of_a_missing_version_works(name, records, tmp_path):
    broken = packed(tmp_path / "x.pth", BROKEN[name][1](records))
    out = tmp_path / "unpacked"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", broken, str(out)], check=True)
    (out / "archive" / "version").write_text("3")
    cured = tmp_path / "cured.pth"
    subprocess.run(["zip", "-q", "-0", "-r", str(cured), "archive"], cwd=out, check=True)
    assert torch.equal(torch.load(cured, weights_only=True)["w"], torch.arange(4.0))
    assert torch.equal(ckpt_core.load(str(cured)).to_torch("model")["w"], torch.arange(4.0))
    assert main(["verify", str(cured), "--depth", "bytes"]) == 0


WHOLE = {
    "as it is": lambda r: r,
    "the version in its older place": lambda r: {
        **without(r, "archive/version"),
        "archive/.data/version": b"3\n",
    },
    "as torch 1.6 wrote it": lambda r: without(
        r,
        "archive/.format_version",
        "archive/.storage_alignment",
        "archive/byteorder",
        "archive/.data/serialization_id",
    ),
    "with records for its folders": lambda r: {"archive/": b"", "archive/data/": b"", **r},
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_torch_opens_is_opened_without_a_word(name, records, tmp_path):
    path = packed(tmp_path / "x.pth", WHOLE[name](records))
    assert not torch_refuses(path)
    assert ckpt_core.load(path).manifest.findings == ()


ADDED = {
    "a pickle": ("archive/evil.pkl", b"\x80\x02cos\nsystem\n.", "a plain pickle"),
    "a second archive": ("archive/more.zip", b"PK\x03\x04" + bytes(40), "a zip archive"),
    "a storage of no tensor": ("archive/data/77", b"\1\2\3\4", "4 bytes"),
    "something among torch's own": ("archive/.data/notes", b"\1\2\3", "3 bytes"),
    "code": ("archive/code/__torch__.py", b"import os", "9 bytes"),
    "another file of torch.save": ("archive/data/x.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch.save"),
}


@pytest.mark.parametrize("name", ADDED)
def test_what_no_reader_asks_for_is_named_and_a_conversion_says_that_it_leaves_it_out(name, records, tmp_path, capsys):
    record, content, what = ADDED[name]
    path = packed(tmp_path / "x.pth", {**records, record: content})
    assert not torch_refuses(path)
    assert main(["verify", "--json", path]) == 0
    (found,) = [one for one in json.loads(capsys.readouterr().out)["findings"] if one["severity"] == "warning"]
    assert found["code"] == "ZP008"
    assert record in found["message"]
    assert what in found["message"]
    assert main(["convert", path, str(tmp_path / "out.safetensors")]) == 0
    assert f"{record} (" in capsys.readouterr().out
    left = read_seal(list_files(str(tmp_path / "out.safetensors"))).provenance["left_out"]
    assert any(record in one for one in left)


FOLLOWING = {
    "another pickle": (b"\x80\x02}.", "a plain pickle"),
    "an archive": (b"PK\x03\x04" + bytes(40), "a zip archive"),
    "zeros": (bytes(64), "zeros"),
}


@pytest.mark.parametrize("name", FOLLOWING)
@pytest.mark.parametrize("code", ["FM005", "TF007"])
def test_what_follows_the_end_is_named(name, code, records, saved, tmp_path, capsys):
    rest, what = FOLLOWING[name]
    path = tmp_path / "x.pth"
    if code == "FM005":
        packed(path, {**records, "archive/data.pkl": records["archive/data.pkl"] + rest})
    else:
        path.write_bytes(saved({"w": torch.ones(2)}, legacy=True) + rest)
    assert not torch_refuses(str(path))
    (found,) = ckpt_core.load(str(path)).manifest.findings
    assert found.code == code
    assert what in found.message
    assert main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 0
    assert what in capsys.readouterr().out


def test_a_dangerous_pickle_is_said_before_what_its_archive_lacks(records, tmp_path):
    stream = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R."
    path = packed(tmp_path / "x.pth", {**without(records, "archive/version"), "archive/data.pkl": stream})
    with pytest.raises(ckpt_core.UnsafeContentError):
        ckpt_core.load(path)

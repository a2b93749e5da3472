"""Files and folders of other programs are named under any suffix, and each step that can be tried here works."""

import gzip
import io
import json
import pickle
import shlex
import subprocess
import sys
import tarfile
import zipfile
import zlib

import msgpack
import numpy
import pytest
import torch

from ckpt_core.errors import CorruptError, UnsupportedFormatError
from ckpt_core.schema.roles import Profile
from ckpt_core.schema.verification import VerifyRequest
from ckpt_core.verbs.inspect import inspect
from ckpt_core.verbs.load import find
from ckpt_core.verbs.verify import verify, verify_members


def _saved(write, *arguments, **named):
    out = io.BytesIO()
    write(out, *arguments, **named)
    return out.getvalue()


def _tar(mode="w", **files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name.replace('_DOT_', '.')}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _zip(**files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_DOT_", "."), data)
    return out.getvalue()


WEIGHTS = _saved(lambda out: torch.save({"w": torch.ones(2)}, out))
FILES = {
    "GGUF": b"GGUF\3\0\0\0" + bytes(range(64)),
    "GGML": b"lmgg" + bytes(range(64)),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(range(64)),
    "NumPy": _saved(numpy.save, numpy.ones(3)),
    "(.npz)": _saved(numpy.savez_compressed, a=numpy.ones(3)),
    "ONNX": b"\x08\x0a\x12\x0ctf2onnx 1.16" + bytes(range(64)),
    "msgpack": msgpack.packb({"params": {"kernel": b"x" * 80}}),
    "ExecuTorch": b"\x1c\0\0\0ET12" + bytes(64),
    "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(64),
    "TensorRT": b"ftrt\0\0\0\0" + bytes(range(64)),
    "RKNN": b"RKNN\0\0\0\0" + bytes(range(64)),
    "AppleDouble": b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(64),
    "MXNet": b"\x12\1" + bytes(14) + bytes(range(64)),
    "OpenVINO": b'<?xml version="1.0"?>\n<net name="m" version="11">' + b" " * 64,
    "a tar archive of NeMo": _tar(model_config_DOT_yaml=b"x: 1", model_weights_DOT_ckpt=WEIGHTS),
    "packed with gzip": gzip.compress(WEIGHTS),
    "of NeMo packed with gzip": _tar("w:gz", model_config_DOT_yaml=b"x: 1", model_weights_DOT_ckpt=WEIGHTS),
    "plain pickle": pickle.dumps({"w": numpy.ones(3)}, protocol=4),
    "zlib": zlib.compress(pickle.dumps([1.0] * 50, protocol=4)),
    "Keras": _zip(metadata_DOT_json=b'{"keras_version": "3"}', model_DOT_weights_DOT_h5=b"x" * 50),
    "zip archive": _zip(readme_DOT_txt=b"x", weights_DOT_pth=WEIGHTS),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(64),
    "Parquet": b"PAR1" + bytes(range(64)),
}


@pytest.mark.parametrize("file", ["m.pth", "m.safetensors", "m.bin", "m"])
@pytest.mark.parametrize("what", FILES)
def test_a_file_is_named_for_what_it_is(tmp_path, what, file):
    (tmp_path / file).write_bytes(FILES[what])
    with pytest.raises(UnsupportedFormatError) as refused:
        inspect(str(tmp_path / file))
    assert what in refused.value.message
    assert "again" not in refused.value.message
    assert refused.value.exit_code == 6


@pytest.mark.parametrize("names", [("config.json", "tf_model.h5"), ("saved_model.pb", "variables/variables.index"),
                                   ("model.ckpt.index", "model.ckpt.data-00000-of-00001"),
                                   ("10/default/manifest.ocdbt", "10/_CHECKPOINT_METADATA"),
                                   ("Manifest.json", "Data/com.apple.CoreML/model.mlmodel")])  # fmt: skip
def test_a_folder_is_named_for_what_it_is(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(FILES["HDF5"] if name.endswith("h5") else b"{}")
    with pytest.raises(UnsupportedFormatError, match=r"TensorFlow|Orbax|Core ML") as refused:
        inspect(str(tmp_path))
    assert refused.value.code == "FM001"


def test_one_of_several_does_not_hide_the_others(tmp_path):
    (tmp_path / "step_1.pt").write_bytes(WEIGHTS)
    (tmp_path / "step_2.pt").write_bytes(FILES["NumPy"])
    (tmp_path / "scaler.pkl").write_bytes(FILES["plain pickle"])
    assert [match.root for match in inspect(str(tmp_path)).members] == ["step_1.pt", "step_2.pt"]


@pytest.mark.parametrize("content", [b"Entry not found", b'{"error": "Repository not found"}', b"Not Found\r\n"])
def test_a_servers_answer_is_no_file(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CorruptError, match="download it again") as refused:
        inspect(str(tmp_path / "model.safetensors"))
    assert refused.value.code == "FM002"


@pytest.mark.parametrize(
    "what", ["NumPy", "(.npz)", "a tar archive of NeMo", "of NeMo packed with gzip", "zip archive", "packed with gzip"]
)
def test_the_advice_works(tmp_path, what):
    name = "it's here.bin"
    (tmp_path / name).write_bytes(FILES[what])
    with pytest.raises(UnsupportedFormatError) as refused:
        inspect(str(tmp_path / name))
    begin = min(at for at in map(refused.value.message.find, ("python -c", "python -m", "gzip -dc")) if at >= 0)
    command = refused.value.message[begin:].partition(", and give")[0].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    (tmp_path / name).unlink()
    made = next(path for path in tmp_path.iterdir())
    assert verify(str(made)).report.ok


def test_a_json_file_of_a_tokenizer_is_no_answer_of_a_server(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"error": "x"}))
    with pytest.raises(UnsupportedFormatError, match="no weights"):
        inspect(str(tmp_path))


def test_verify_says_it_of_one_member_and_checks_the_others(tmp_path):
    (tmp_path / "step_1.pt").write_bytes(WEIGHTS)
    (tmp_path / "step_2.pt").write_bytes(FILES["NumPy"])
    request = VerifyRequest(profile=Profile.INFERENCE)
    found = [[finding.code for finding in one.report.findings] for one in verify_members(find(str(tmp_path)), request)]
    assert "FM001" not in found[0]
    assert found[1] == ["FM001"]

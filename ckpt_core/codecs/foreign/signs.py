"""The table of signs by which other programs' files are known.

It has their first bytes, what they are, and what their owner can do with them, whatever suffix a file has. Sources
stand beside the magics: a specification, or the file of the program that writes it.
"""

from typing import NamedTuple

ARRAYS = "safetensors.numpy.save_file writes its arrays for ckpt"


class ForeignKind(NamedTuple):
    """The kind of another program's file, and the next step.

    `{name}` in the step stands for the file's name.
    """

    what: str
    step: str


class Magic(NamedTuple):
    """Bytes at an offset that identify one kind."""

    bytes: bytes
    kind: ForeignKind
    at: int = 0


GGUF = ForeignKind(
    "a GGUF file, of llama.cpp",
    "take the safetensors files of the model it was made from, or open it with llama.cpp, or with from_pretrained(…, "
    "gguf_file=…) of transformers, whose save_pretrained writes safetensors",
)
GGML = ForeignKind(
    "a GGML file, of whisper.cpp or an old llama.cpp", "open it there, or take the weights that it was made from"
)
HDF5 = ForeignKind("an HDF5 file, as Keras and TensorFlow write them", f"h5py and Keras open it; {ARRAYS}")
NPY = ForeignKind(
    "a NumPy array (.npy)",
    'convert it: python -c "import sys, numpy, safetensors.numpy as s; '
    "s.save_file({'array': numpy.load(sys.argv[1])}, 'array.safetensors')\" {name}",
)
NPZ = ForeignKind(
    "NumPy arrays (.npz)",
    'convert them: python -c "import sys, numpy, safetensors.numpy as s; '
    "s.save_file(dict(numpy.load(sys.argv[1])), 'arrays.safetensors')\" {name}",
)
ONNX = ForeignKind(
    "an ONNX model", f"onnxruntime runs it, and onnx.numpy_helper.to_array gives its initializers; {ARRAYS}"
)
MSGPACK = ForeignKind(
    "msgpack, as Flax writes it (JAX)",
    f"flax.serialization.msgpack_restore gives what it holds, and transformers before 5 loads a Flax model with "
    f"from_pretrained(…, from_flax=True); {ARRAYS}",
)
ORBAX = ForeignKind("an Orbax checkpoint (JAX)", f"orbax.checkpoint restores it; {ARRAYS}")
SAVED_MODEL = ForeignKind("a TensorFlow SavedModel", f"tf.saved_model.load opens it; {ARRAYS}")
TENSORFLOW = ForeignKind("a TensorFlow checkpoint", f"tf.train.load_checkpoint reads it; {ARRAYS}")
TF_KERAS = ForeignKind(
    "TensorFlow weights (HDF5)",
    f"transformers before 5 loads them with from_pretrained(…, from_tf=True), and save_pretrained writes safetensors; "
    f"or h5py opens it and {ARRAYS}",
)
GRAPH = ForeignKind("a frozen TensorFlow graph", "TensorFlow runs it; take the checkpoint that it was frozen from")
TFLITE = ForeignKind("a TensorFlow Lite model", "LiteRT runs it; take the model that it was converted from")
TENSORRT = ForeignKind(
    "a TensorRT engine", "TensorRT of the same version runs it; take the model that it was built from"
)
NEMO = ForeignKind(
    "a tar archive of NeMo",
    "unpack it with python -m tarfile -e {name} FOLDER, and give ckpt the FOLDER",
)
COREML = ForeignKind("a Core ML model", "coremltools opens it; take the model that it was converted from")
RKNN = ForeignKind(
    "an RKNN model, for Rockchip's chips", "its runtime runs it; take the model that it was converted from"
)
APPLE = ForeignKind(
    "AppleDouble, what macOS keeps beside a file on foreign disks: no checkpoint, and nothing is lost with it",
    "take the file of the name without ._",
)
EXECUTORCH = ForeignKind(
    "an ExecuTorch program (.pte)", "its runtime runs it; take the model that it was exported from"
)
MOBILE = ForeignKind("a PyTorch Mobile model (.ptl)", "its runtime runs it; take the model that it was exported from")
NCNN = ForeignKind("an ncnn model", "ncnn runs it; take the model that it was converted from")
MXNET = ForeignKind("an MXNet parameter file (.params)", f"mxnet.nd.load reads it; {ARRAYS}")
OPENVINO = ForeignKind(
    "an OpenVINO model", "openvino.Core().read_model opens it; take the model that it was converted from"
)
MNN = ForeignKind("an MNN model", "MNN runs it; take the model that it was converted from")
PADDLE = ForeignKind(
    "a PaddlePaddle file", f"paddle.load reads it where it comes from a place that you trust; {ARRAYS}"
)
PICKLE = ForeignKind(
    "a plain pickle (pickle.dump, joblib, a model zoo), not what torch.save writes",
    f"loading it runs what it names: where you trust its source, pickle.load gives what it holds, and {ARRAYS}",
)
JOBLIB = ForeignKind(
    "compressed with zlib, as joblib.dump does with a pickle",
    f"loading it runs what it names: where you trust its source, joblib.load gives what it holds, and {ARRAYS}",
)
KERAS = ForeignKind("a Keras model (a zip archive)", "keras.models.load_model opens it, and " + ARRAYS)
ZIP = ForeignKind("a zip archive", "unpack it with python -m zipfile -e {name} FOLDER, and give ckpt what was in it")
TAR = ForeignKind("a tar archive", "unpack it with python -m tarfile -e {name} FOLDER, and give ckpt what was in it")
TAR_GZ = ForeignKind("a tar archive packed with gzip", TAR.step)
NEMO_GZ = ForeignKind("a tar archive of NeMo packed with gzip", NEMO.step)
GZIP = ForeignKind("packed with gzip", "unpack it with gzip -dc {name} > FILE, and give ckpt the FILE")
BZIP2 = ForeignKind("packed with bzip2", "unpack it with bzip2 -dc {name} > FILE, and give ckpt the FILE")
XZ = ForeignKind("packed with xz", "unpack it with xz -dc {name} > FILE, and give ckpt the FILE")
ZSTD = ForeignKind("packed with zstd", "unpack it with zstd -dc {name} > FILE, and give ckpt the FILE")
LZ4 = ForeignKind("packed with lz4", "unpack it with lz4 -dc {name} > FILE, and give ckpt the FILE")
SEVEN = ForeignKind("a 7z archive", "unpack it with 7z x {name}, and give ckpt what was in it")
RAR = ForeignKind("a RAR archive", "unpack it with unrar x {name}, and give ckpt what was in it")
_OTHER = "check the name"

MAGICS = (
    Magic(b"GGUF", GGUF),  # ggml, docs/gguf.md
    *[Magic(magic, GGML) for magic in (b"lmgg", b"fmgg", b"tjgg", b"algg")],  # llama.cpp before 2023-08, llama.h
    Magic(b"\x89HDF\r\n\x1a\n", HDF5),  # HDF5 file format specification, II.A
    Magic(b"\x93NUMPY", NPY),  # numpy, lib/format.py
    Magic(b"TFL3", TFLITE, 4),  # tensorflow, lite/schema/schema.fbs (file_identifier)
    Magic(b"ET12", EXECUTORCH, 4),  # executorch, schema/program.fbs
    Magic(b"PTMF", MOBILE, 4),  # torch, csrc/jit/serialization/mobile_bytecode.fbs
    Magic(b"ftrt", TENSORRT),
    Magic(b"ptrt", TENSORRT),
    Magic(b"RKNN", RKNN),  # rknn-toolkit2, header of an exported model
    Magic(b"\0\x05\x16\x07", APPLE),  # RFC 1740, appendix B
    Magic(b"\0\x05\x16\0", APPLE),
    Magic(b"7767517\n", NCNN),  # ncnn, net.cpp (the text of .param)
    Magic(b"\xdd\x85\x76\0", NCNN),
    Magic(b"\x12\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0", MXNET),  # mxnet, src/ndarray/ndarray.cc (kMXAPINDArrayListMagic)
    Magic(b"\x0c\xdb\x3a\x2a", ORBAX),  # tensorstore, kvstore/ocdbt/format/manifest.cc
    Magic(b"BZh", BZIP2),
    Magic(b"\xfd7zXZ\0", XZ),
    Magic(b"\x28\xb5\x2f\xfd", ZSTD),  # RFC 8878
    Magic(b"\x04\x22\x4d\x18", LZ4),
    Magic(b"7z\xbc\xaf\x27\x1c", SEVEN),
    Magic(b"Rar!\x1a\x07", RAR),
    Magic(b"PK\x05\x06", ForeignKind("a zip archive with nothing in it", "copy it again")),
    Magic(b"PK\x07\x08", ForeignKind("one of the files of a split zip archive", "put them together and unpack them")),
    Magic(b"%PDF-", ForeignKind("a PDF document", _OTHER)),
    Magic(b"\x89PNG\r\n\x1a\n", ForeignKind("a PNG image", _OTHER)),
    Magic(b"\xff\xd8\xff", ForeignKind("a JPEG image", _OTHER)),
    Magic(b"\x7fELF", ForeignKind("a program or library (ELF)", _OTHER)),
    Magic(b"SQLite format 3\0", ForeignKind("an SQLite database", _OTHER)),
    Magic(b"PAR1", ForeignKind("a Parquet table", _OTHER)),
    Magic(b"ARROW1", ForeignKind("an Arrow table", _OTHER)),
)

SUFFIXES = {
    ".mlmodel": COREML,
    ".mnn": MNN,
    ".onnx": ONNX,
    ".engine": TENSORRT,
    ".trt": TENSORRT,
    ".pdiparams": PADDLE,
    ".pdmodel": PADDLE,
    ".pdparams": PADDLE,
    ".pdopt": PADDLE,
    ".h5": HDF5,
    ".msgpack": MSGPACK,
    ".rknn": RKNN,
    ".tflite": TFLITE,
}
"""Where the first bytes say nothing: names that belong to one program."""

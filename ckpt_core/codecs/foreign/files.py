"""Recognises other programs' files where no magic number tells.

They are archives, protobuf, msgpack and pickles.
"""

import re
import zlib

from ckpt_core.codecs.foreign import signs
from ckpt_core.codecs.foreign.signs import ForeignKind
from ckpt_core.codecs.heads.torch import like_legacy, short

_TAR_NAME = 100
_PEEKED = 1024
"""Bytes of an archive's content that are unpacked to see what is in it."""

_TEXT = re.compile(rb"[\w .:/+\-]{2,64}")
_PROTOCOL_0 = re.compile(rb"\((?:dp?|lp?)\d*\n|c[\w.]+\n\w+\n")
_OPERATIONS = (b"Placeholder", b"Const", b"VarHandleOp", b"VariableV2", b"NoOp", b"saver_def", b"serving_default")
_NEWEST_ONNX = 30
"""Far above the newest ir_version there is: a byte there that is greater is another format's."""


def foreign(path: str, head: bytes) -> ForeignKind | None:
    """Return the kind of another program's file; None for ours.

    The first bytes tell, and where these say nothing the name.
    """
    lower = path.lower()
    for magic in signs.MAGICS:
        if head.startswith(magic.bytes, magic.at):
            return _named(magic.kind, lower)
    recognised = _archive(head) or _openvino(head) or _protobuf(head) or _msgpack(head) or _pickle(head, lower)
    return recognised or next((kind for end, kind in signs.SUFFIXES.items() if lower.endswith(end)), None)


def _named(kind: ForeignKind, lower: str) -> ForeignKind:
    """Return the kind, refined for a library's own names."""
    return signs.TF_KERAS if kind is signs.HDF5 and lower.rpartition("/")[2].startswith("tf_model") else kind


def _archive(head: bytes) -> ForeignKind | None:
    if head[:4] == b"PK\x03\x04":
        return zip_kind(head)
    if head[:3] == b"\x1f\x8b\x08":
        return _gzip(head)
    return _tar(head)


def zip_kind(head: bytes) -> ForeignKind:
    """Return the kind of a zip archive by its first records.

    Only the records in the first bytes are seen.
    """
    first = head[30 : 30 + short(head, 26)]
    if first.endswith(b".npy"):
        return signs.NPZ
    if b"model.weights.h5" in head or (first in (b"metadata.json", b"config.json") and b"keras" in head[:4096]):
        return signs.KERAS
    return signs.COREML if b"com.apple.CoreML" in head else signs.ZIP


def _gzip(head: bytes) -> ForeignKind:
    try:
        content = zlib.decompressobj(31).decompress(head, _PEEKED)
    except zlib.error:
        return signs.GZIP
    inside = _tar(content)
    return {None: signs.GZIP, signs.NEMO: signs.NEMO_GZ}.get(inside, signs.TAR_GZ)


def _tar(head: bytes) -> ForeignKind | None:
    if head[257:262] != b"ustar":
        return None
    first = head[:_TAR_NAME].rstrip(b"\0").removeprefix(b"./")
    return signs.NEMO if first == b"model_config.yaml" or b"model_config.yaml\0" in head else signs.TAR


def _openvino(head: bytes) -> ForeignKind | None:
    start = head[:512].lstrip()
    return signs.OPENVINO if start.startswith(b"<?xml") and b"<net " in start else None


def _protobuf(head: bytes) -> ForeignKind | None:
    """Recognise ONNX, Core ML and TensorFlow files.

    The first fields of their top-level message tell.

    Sources: onnx.proto (ModelProto: ir_version, producer_name, graph), Model.proto of Core ML (specificationVersion,
    description), saved_model.proto and graph.proto of TensorFlow.
    """
    if head[:1] == b"\x0a" and head[2:3] in (b"\x0a", b"\x01") and any(name in head for name in _OPERATIONS):
        return signs.GRAPH
    if head[:1] != b"\x08" or not 0 < head[1 if len(head) > 1 else 0] <= _NEWEST_ONNX or len(head) < 8:
        return None
    tag, length = head[2], head[3]
    if tag == 0x12 and length < 0x80 and _TEXT.fullmatch(head[4 : 4 + length]):
        return signs.ONNX
    if tag == 0x12 and any(name in head for name in _OPERATIONS):
        return signs.SAVED_MODEL
    if tag == 0x3A and b"\x0a" in head[4:8]:
        return signs.ONNX
    return signs.COREML if tag == 0x12 and head[4 : 4 + 4].startswith(b"\x0a") else None


def _msgpack(head: bytes) -> ForeignKind | None:
    """Recognise a msgpack map whose first key is text.

    Source: the msgpack specification; flax, serialization.py (msgpack_serialize).
    """
    at = 1 if 0x81 <= head[0] <= 0x8F else {0xDE: 3, 0xDF: 5}.get(head[0], 0) if head else 0
    if not at or len(head) <= at:
        return None
    long = head[at] == 0xD9
    length = head[at + 1] if long and len(head) > at + 1 else head[at] - 0xA0
    key = head[at + 1 + long : at + 1 + long + length]
    is_text = 0 < length < 0x20 or (long and length)
    return signs.MSGPACK if is_text and len(key) == length and _TEXT.fullmatch(key + b"..") else None


def _pickle(head: bytes, lower: str) -> ForeignKind | None:
    binary = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if like_legacy(head):
        return None
    if binary or _PROTOCOL_0.match(head):
        return signs.PADDLE if lower.endswith((".pdparams", ".pdopt")) else signs.PICKLE
    return signs.JOBLIB if head[:2] in (b"x\x9c", b"x\xda", b"x\x01", b"x^") and _inflates(head) else None


def _inflates(head: bytes) -> bool:
    try:
        return zlib.decompressobj().decompress(head, _PEEKED)[:1] == b"\x80"
    except zlib.error:
        return False

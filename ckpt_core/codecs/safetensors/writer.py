"""Plans safetensors files.

A file is a header, then every tensor end to end; nothing is held in memory.

Order as in `safetensors/src/tensor.rs` (prepare): the wider types first, so that every tensor starts aligned, then by
name. The header is padded with spaces to eight bytes. A tied tensor is stored once; the names that share it are kept in
the metadata under `ckpt.aliases`, and restored by our reader.
"""

import json
from collections.abc import Mapping

from ckpt_core.codecs.safetensors.reader import ALIASES
from ckpt_core.errors import UnsupportedFormatError
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.plans import FilePlan, Literal, TensorBytes
from ckpt_core.schema.side_files.taint import as_metadata, carried
from ckpt_core.schema.tensors import TensorInfo
from ckpt_core.schema.text import printable


def plan_safetensors(
    path: str, component: Component, names: Mapping[str, TensorInfo], *, metadata: Mapping[str, str]
) -> FilePlan:
    """Plan one file that holds the tensors of `names`.

    Those that are aliases of one another are stored once.

    Raises:
        UnsupportedFormatError: The format has no such element type.
    """
    stored = {name: info for name, info in names.items() if not _is_alias(info, names)}
    aliases = {name: str(info.alias_of) for name, info in names.items() if name not in stored}
    order = sorted(stored, key=lambda name: (-stored[name].dtype.bits, name))
    header: dict[str, object] = {}
    text = {**metadata, **({ALIASES: json.dumps(aliases, sort_keys=True)} if aliases else {})}
    if text:
        header["__metadata__"] = text
    at = 0
    for name in order:
        info = stored[name]
        if info.dtype is DType.C128 or info.dtype.bits * info.numel % 8:
            raise UnsupportedFormatError(f"{printable(name)}: safetensors cannot hold {info.dtype.code} of this shape")
        end = at + info.nbytes
        header[name] = {"dtype": info.dtype.code, "shape": list(info.shape), "data_offsets": [at, end]}
        at = end
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    raw += b" " * (-len(raw) % 8)
    sections = [TensorBytes(component.label, name, stored[name].nbytes) for name in order]
    return FilePlan(path, (Literal(len(raw).to_bytes(8, "little") + raw), *sections))


def metadata_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the text metadata of a checkpoint, with its taint."""
    kept = {key: value for key, value in checkpoint.manifest.metadata.items() if isinstance(value, str)}
    return {**kept, **as_metadata(carried(checkpoint))}


def _is_alias(info: TensorInfo, names: Mapping[str, TensorInfo]) -> bool:
    return info.alias_of is not None and info.alias_of in names

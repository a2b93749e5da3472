"""Reads the files that shards were joined into.

They say how far each tensor goes where they lie beside.
"""

from collections.abc import Iterator

from ckpt_core import Files, Finding, FormatError, Severity, TensorInfo, printable
from ckpt_core.codecs import read_safetensors
from ckpt_fsdp.hf_shards.boxes import Shards
from ckpt_fsdp.hf_shards.names import is_whole


class Joined:
    """The tensors of the joined files.

    `findings` has the files that could not be read.
    """

    def __init__(self, files: Files) -> None:
        self.infos: dict[str, TensorInfo] = {}
        self.findings: list[Finding] = []
        for path in files.entries:
            if "/" not in path and is_whole(path):
                self._read(files, path)

    def _read(self, files: Files, path: str) -> None:
        try:
            self.infos.update(read_safetensors(files, path).tensors.infos())
        except FormatError as error:
            message = f"{error.message}; it proves nothing about its shards"
            self.findings.append(Finding("DC054", Severity.WARNING, message, path))


def extend(shards: Shards, joined: Joined) -> Iterator[Finding]:
    """Give each tensor the shape of its joined file.

    What its shards lack is a hole then; findings say where that is not possible.
    """
    for name, info in joined.infos.items():
        tensor = shards.tensors.get(name)
        if tensor is None:
            message = f"{printable(info.path or '')}: holds {printable(name)}, and no shard does"
            yield Finding("DC055", Severity.ERROR, message, info.path, name, "copy the shards again, of all ranks")
        elif tensor.dtype is info.dtype and _covers(info.shape, tensor.shape):
            tensor.shape = info.shape
        else:
            message = (
                f"{printable(info.path or '')}: {printable(name)} is {info.dtype.code} {info.shape} here, "
                f"{tensor.dtype.code} {tensor.shape} in the shards; they are of two saves"
            )
            yield Finding("DC054", Severity.WARNING, message, info.path, name)


def agreed(shards: Shards, joined: Joined) -> set[str]:
    """Return the tensors of one shape in both.

    They are given by their names.
    """
    infos = joined.infos.items()
    return {name for name, o in infos if name in shards.tensors and shards.tensors[name].shape == o.shape}


def _covers(shape: tuple[int, ...], reach: tuple[int, ...]) -> bool:
    return len(shape) == len(reach) and all(size >= least for size, least in zip(shape, reach, strict=True))

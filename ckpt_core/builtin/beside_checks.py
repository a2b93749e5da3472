"""Judges pickles beside the weights that ckpt doesn't read.

The next tool will open them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Files
    from ckpt_core.schema.verification import VerifyRequest

_ENDINGS = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

_LONGEST = 64 << 20
"""Bytes of a bare pickle that are read: what trainers keep in one has some kilobytes."""


def pickles_beside(files: "Files", stored: "StoredCheckpoint", request: "VerifyRequest") -> Iterator[Finding]:
    """Yield LW033 and LW034 for pickles that nothing else examined.

    They lie in the folders of a checkpoint.
    """
    if request.profile is None or files.location.kind is not LocationKind.DIRECTORY:
        return
    folders = {"", *(opened.base for opened in stored.parts)}
    pickles = [path for path in files.entries if path.lower().endswith(_ENDINGS) and path.rpartition("/")[0] in folders]
    read = _paths_read(stored) if pickles else ()
    for path in pickles:
        if path not in read:
            yield from _judge(files, path)


def _paths_read(stored: "StoredCheckpoint") -> set[str | None]:
    manifest = stored.manifest
    paths = {info.path for component in manifest.components for _, info in component.tensors.infos()}
    return paths | {role.where for role in manifest.roles} | {finding.path for finding in manifest.findings}


def _judge(files: "Files", path: str) -> Iterator[Finding]:
    """Yield findings about a pickle's names, without running it.

    What is no pickle, or broken, is nobody's weights.
    """
    from ckpt_core.errors import CkptError, UnreachableError, UnsafeContentError

    try:
        unknown = [finding for finding in _findings_of(files, path) if finding.code == "PK004"]
    except UnsafeContentError as error:
        reason = error.message.removeprefix(f"{printable(path)}: ")
        message = f"{printable(path)}: lies beside the weights, and the next tool that opens it runs code: {reason}"
        hint = "remove it, or get the checkpoint from a source that you trust"
        yield Finding("LW033", Severity.ERROR, message, path, hint=hint)
        return
    except UnreachableError:
        raise
    except CkptError:
        return
    if unknown:
        message = f"{printable(path)}: lies beside the weights, and is made of classes of its own; it was not opened"
        yield Finding("LW034", Severity.INFO, message, path, hint="the tool that wrote it needs them")


def _findings_of(files: "Files", path: str) -> tuple[Finding, ...]:
    from ckpt_core.codecs.heads.torch import sniff_torch
    from ckpt_core.codecs.pickle.reader import read_pickle
    from ckpt_core.codecs.torch.reader import read_torch_file
    from ckpt_core.errors import CorruptError, UnsupportedFormatError

    try:
        return read_torch_file(files, path).findings
    except (CorruptError, UnsupportedFormatError):  # a plain pickle is no file of torch
        if sniff_torch(files.head(path)) is not None or files.size(path) > _LONGEST:
            raise
        return read_pickle(files.read(path), path=path).findings

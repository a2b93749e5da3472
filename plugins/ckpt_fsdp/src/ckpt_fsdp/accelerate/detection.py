"""Recognises directories that Accelerate wrote under FSDP.

Names alone tell; the directories of DCP in them are parts.
"""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind, Part, printable
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.accelerate.names import MODEL, OPTIMIZER, DirectoryContent, survey

FLAT = (
    "holds flat parameters of FSDP1 (LOCAL_STATE_DICT): where each weight starts in them is known to nobody but the "
    "program that wrapped the model; load it there, and save it as SHARDED_STATE_DICT or FULL_STATE_DICT"
)


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each directory with Accelerate's names.

    It has models or optimizers.
    """
    if files.location.kind is LocationKind.FILE:
        return
    for root, content in sorted(survey(files.entries).items()):
        step = step_of_name(root or files.location.name)
        problem = f"{printable(content.flat[0])}: {FLAT}" if content.flat else None
        yield FormatMatch("fsdp", _confidence(content), _evidence(content), root, step, tuple(_parts(content)), problem)


def _confidence(content: DirectoryContent) -> Confidence:
    """Return how sure the claim is.

    A model alone may lie in the directory of another model; the Trainer's own format knows more of its files.
    """
    whole = bool(content.optimizers or content.full_optimizers or content.beside)
    return Confidence.CERTAIN if whole and not content.of_trainer else Confidence.LIKELY


def _parts(content: DirectoryContent) -> Iterator[Part]:
    for kind, folders in (("model", content.models), ("optimizer", content.optimizers)):
        for number, folder in sorted(folders.items()):
            yield Part(folder, labelled(kind, number), "dcp")


def labelled(kind: str, number: int) -> str:
    """Return the label of a numbered model or optimizer.

    `model` for the first of a kind, `model:1` for the next, as Accelerate numbers them.
    """
    return f"{kind}:{number}" if number else kind


def _evidence(content: DirectoryContent) -> str:
    if content.flat:
        return f"{len(content.flat)} files of flat parameters, {printable(content.flat[0])} first"
    seen = [*content.models.values(), *content.full_models.values()] or [f"no {MODEL}"]
    optimizers = [*content.optimizers.values(), *content.full_optimizers.values()] or [f"no {OPTIMIZER}"]
    return f"{', '.join(seen[:2])} beside {optimizers[0]}"

"""Recognises directories that Accelerate wrote under FSDP.

Names alone tell; the directories of DCP in them are parts.
"""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind, Part, printable
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.accelerate.names import MODEL, OPTIMIZER, Found, survey

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
    for root, found in sorted(survey(files.entries).items()):
        step = step_of_name(root or files.location.name)
        problem = f"{printable(found.flat[0])}: {FLAT}" if found.flat else None
        yield FormatMatch("fsdp", _confidence(found), _evidence(found), root, step, tuple(_parts(found)), problem)


def _confidence(found: Found) -> Confidence:
    """Return how sure the claim is.

    A model alone may lie in the directory of another model; the Trainer's own format knows more of its files.
    """
    whole = bool(found.optimizers or found.full_optimizers or found.beside)
    return Confidence.CERTAIN if whole and not found.of_trainer else Confidence.LIKELY


def _parts(found: Found) -> Iterator[Part]:
    for kind, folders in (("model", found.models), ("optimizer", found.optimizers)):
        for number, folder in sorted(folders.items()):
            yield Part(folder, labelled(kind, number), "dcp")


def labelled(kind: str, number: int) -> str:
    """Return the label of a numbered model or optimizer.

    `model` for the first of a kind, `model:1` for the next, as Accelerate numbers them.
    """
    return f"{kind}:{number}" if number else kind


def _evidence(found: Found) -> str:
    if found.flat:
        return f"{len(found.flat)} files of flat parameters, {printable(found.flat[0])} first"
    seen = [*found.models.values(), *found.full_models.values()] or [f"no {MODEL}"]
    optimizers = [*found.optimizers.values(), *found.full_optimizers.values()] or [f"no {OPTIMIZER}"]
    return f"{', '.join(seen[:2])} beside {optimizers[0]}"

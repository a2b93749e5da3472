"""Fills a model from an open checkpoint, by a trainer's rules.

What may differ is named, and all of it is reported.

All is decided before the first byte is written, so a refused load leaves the model as it was. What is read from afar
may break off midway: it is staged in memory of its own first.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import prod
from typing import TYPE_CHECKING

from ckpt_core import Component, LoadError, LoadReport, StoredCheckpoint, load_into, printable
from ckpt_minillm.model_shape import contradictions, facts_of, facts_of_module, is_lora

if TYPE_CHECKING:
    import torch

LEAST = 2 / 3
"""Share of the model, and of the file, that must meet where differences are tolerated: less is half a model dropped."""


def fill_model(
    model: "torch.nn.Module",
    checkpoint: StoredCheckpoint,
    *,
    component: str | None = None,
    strict: bool = True,
    allow_missing: Sequence[str] = (),
    allow_unexpected: Sequence[str] = (),
) -> LoadReport:
    """Fill a model's parameters and buffers.

    Args:
        model: What is filled; its types and devices stay.
        checkpoint: What is read.
        component: Label of the component; None for the model.
        strict: Refuse a difference of names that is not allowed by name. Without it any is tolerated as long as at
            least two thirds of the model are filled, and two thirds of the file used; hidden size, number of layers
            and experts must agree in any case, as must every shape.
        allow_missing: Globs of the model's names that may stay as they are. Those of a LoRA always may.
        allow_unexpected: Globs of stored names that may be left.

    Raises:
        LoadError: It does not fit; the model is unchanged.
    """
    part = checkpoint.component(component)
    where = str(checkpoint.location)
    if part.kind == "adapter" and component is None:
        raise LoadError(
            f"{where}: a LoRA alone, no model; load its base model first, then this with "
            "ckpt_core.load_into(model, path, component='adapter', min_coverage=0.0)"
        )
    _refuse_another_model(where, part, model)
    report = load_into(model, checkpoint, component=part.label, dry_run=True)
    if report.matched and not report.mismatched:
        if strict:
            _refuse_differences(report, allow_missing, allow_unexpected)
        else:
            _refuse_halves(report, part)
    afar = any(checkpoint.files.local_path(path) is None for path in checkpoint.files.entries)
    return load_into(
        model, checkpoint, component=part.label, min_coverage=0.0, allow_unexpected=True, atomic=afar
    )  # refuses where nothing matches, or a shape differs


def _refuse_another_model(where: str, part: Component, model: "torch.nn.Module") -> None:
    asked = facts_of_module(model).as_metadata()
    wrong = "; ".join(contradictions(facts_of(part.tensors), asked))
    if wrong:
        raise LoadError(
            f"{where}: {wrong}, as the model has it; nothing was loaded; build the model like the file, or find the "
            "file that fits"
        )


def _refuse_differences(report: LoadReport, allow_missing: Sequence[str], allow_unexpected: Sequence[str]) -> None:
    missing = [name for name in report.missing if not is_lora(name) and not _matches(name, allow_missing)]
    if missing:
        raise LoadError(
            f"{report.source}: {len(missing)} tensors of the model are not in it ({_some(missing)}); "
            "nothing was loaded; name them in allow_missing if they may stay as they are"
        )
    unexpected = [name for name in report.unexpected if not _matches(name, allow_unexpected)]
    if unexpected:
        raise LoadError(
            f"{report.source}: {len(unexpected)} of its tensors have no place in the model ({_some(unexpected)}); "
            "nothing was loaded; name them in allow_unexpected if they may be left"
        )


def _refuse_halves(report: LoadReport, part: Component) -> None:
    total = sum(prod(info.shape) for _, info in part.tensors.infos())
    left = sum(prod(part.tensors.info(name).shape) for name in report.unexpected)
    used = 1 - left / total if total else 0.0
    if report.coverage < LEAST or used < LEAST:
        raise LoadError(
            f"{report.source}: fills {report.coverage:.0%} of the model with {used:.0%} of the file "
            f"(missing {_some(report.missing)}; unexpected {_some(report.unexpected)}); nothing was loaded; "
            "is it another model's?"
        )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(printable(name, 80) for name in names[:most]) or "nothing"
    return f"{shown}, … {len(names) - most} more" if len(names) > most else shown

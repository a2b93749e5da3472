"""Writes resume files that minimind's own `lm_checkpoint` reads."""

from collections.abc import Mapping

from ckpt_core import (
    Checkpoint,
    Component,
    Manifest,
    State,
    Target,
    UnsupportedFormatError,
    UsageError,
    WritePlan,
    argument,
    printable,
)
from ckpt_core.codecs import plan_torch
from ckpt_minillm.model_shape import facts_of
from ckpt_minillm.name_checks import refuse_name
from ckpt_minillm.naming import parse_name
from ckpt_minillm.resume.keys import KINDS, PROGRESS, key_of

_NEEDED = ("model", "optimizer", "progress")


def save_resume(checkpoint: Checkpoint, target: Target) -> Manifest:
    """Write a training's components under minimind's keys.

    Types are kept: minimind itself halves the model here, and then goes on from rounded weights.

    Raises:
        UsageError: The file's name is not one of what resumes, or contradicts the tensors; or a cast would reach the
            optimizer's moments.
        UnsupportedFormatError: A component is missing, or is one that minimind has no key for.
    """
    name = parse_name(target.name)
    if name is None or not name.resume or name.in_flight:
        raise UsageError(
            f"{printable(target.name)}: what minimind resumes from is named "
            "{stage}_{hidden_size}[_moe]_resume.pth, as full_sft_512_resume.pth"
        )
    components = checkpoint.manifest.components
    _check(components)
    _refuse_cast_moments(checkpoint)
    refuse_name(target.name, name, facts_of(checkpoint.component("model").tensors))
    labels = {component.label: key_of(component.kind, component.name) for component in components}
    plan = plan_torch(target.name, components, arrange=lambda trees: _arranged(trees, labels), of=checkpoint)
    return target.write(WritePlan((plan,)), checkpoint)


def _check(components: tuple[Component, ...]) -> None:
    labels = {component.label: component for component in components}
    lacking = [label for label in _NEEDED if label not in labels]
    if lacking:
        has = ", ".join(map(printable, labels)) or "nothing"
        raise UnsupportedFormatError(
            f"minillm-resume needs {', '.join(_NEEDED)}, this checkpoint has {has}; write its weights as minillm"
        )
    foreign = [label for label, component in labels.items() if component.kind not in KINDS and label != "progress"]
    if foreign:
        raise UnsupportedFormatError(
            f"minimind has no key for {', '.join(map(printable, foreign))}; leave it out with {argument('components')}"
        )
    progress = labels["progress"].state
    if not isinstance(progress, dict) or not all(type(progress.get(key)) is int for key in PROGRESS[:2]):
        raise UnsupportedFormatError("minillm-resume needs an epoch and a step, both whole numbers, in progress")


def _refuse_cast_moments(checkpoint: Checkpoint) -> None:
    """Raise UsageError if a cast reaches the optimizer's moments.

    Half precision loses second moments to zero; such a cast was hardly meant.
    """
    for component in checkpoint.manifest.components:
        if component.kind == "model":
            continue
        for name, info in component.tensors.infos():
            if checkpoint.origin(component.label, name).dtype is not info.dtype:
                raise UsageError(
                    f"{component.label}, {printable(name)}: would be cast to {info.dtype.code} with the weights; "
                    f"leave it out: {argument('dtypes', ['F16'])} casts the weights alone"
                )


def _arranged(trees: Mapping[str, State], labels: Mapping[str, str]) -> State:
    """Return the saved object with minimind's keys in order.

    The trainer's own keys come behind.
    """
    progress = trees["progress"]
    assert isinstance(progress, dict)
    ordered = {key: progress[key] for key in PROGRESS if key in progress}
    own = {key: value for key, value in progress.items() if key not in PROGRESS}
    parts = {labels[label]: tree for label, tree in trees.items() if label != "progress"}
    first = {key: parts.pop(key) for key in ("model", "optimizer")}
    return {**first, **ordered, **parts, **own}

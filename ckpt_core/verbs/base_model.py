"""Lays a conversion onto the base model that was trained.

The tensors are held against the base, and written with its names and its files.
"""

from collections.abc import Sequence

from ckpt_core.arguments import argument
from ckpt_core.errors import BaseMismatchError, UsageError
from ckpt_core.reading.base_model.fit import Fit, fit
from ckpt_core.reading.base_model.view import OntoBase
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.text import printable

MODELS = {"main": ("model",), "ema": ("ema",), "both": ("model", "ema")}
"""The components that each choice converts."""

_SHOWN = 3


def models_in(checkpoint: Checkpoint) -> str:
    """Return the choice of models that a checkpoint can fill.

    It is both, or the model alone where there is no average.
    """
    there = {component.label for component in checkpoint.manifest.components}
    return "main" if "model" in there and "ema" not in there else "both"


def components_of(checkpoint: Checkpoint, models: str) -> tuple[str, ...]:
    """Labels of the components to convert.

    Raises:
        UsageError: The choice is not one, or the checkpoint lacks a component of it: no other is written in its place.
    """
    if models not in MODELS:
        raise UsageError(f"{argument('models', printable(models, 40))}: not one of {', '.join(MODELS)}")
    there = [component.label for component in checkpoint.manifest.components]
    lacking = [label for label in MODELS[models] if label not in there]
    if lacking:
        other = next((name for name, labels in MODELS.items() if set(labels) <= set(there)), None)
        step = f"{argument('models', other)} converts what there is" if other else "name the checkpoint that has it"
        has = ", ".join(map(printable, there)) or "nothing"
        raise UsageError(f"{checkpoint.location}: has no {' and no '.join(lacking)} (it has {has}); {step}")
    return MODELS[models]


def lay_onto(checkpoint: Checkpoint, base: Checkpoint, *, optional: Sequence[str] = ()) -> tuple[OntoBase, list[Fit]]:
    """Return the checkpoint seen as the base, and its components' fits.

    Args:
        checkpoint: A view of components that have a counterpart in the base.
        base: The base model.
        optional: Globs of tensors that the model can do without, besides those that the base names itself.

    Raises:
        BaseMismatchError: It does not fit.
        UsageError: The base has no weights.
    """
    globs = (*base.manifest.optional, *optional)
    weights = [component for component in checkpoint.manifest.components if len(component.tensors)]
    fits = [fit(component, _counterpart(base, component.kind), optional=globs) for component in weights]
    wrong = tuple(one for one in fits if not one.fits)
    if wrong:
        raise _mismatch(checkpoint, base, wrong)
    return OntoBase(checkpoint, base, fits), fits


def _counterpart(base: Checkpoint, kind: str) -> Component:
    """Return the base's component of a kind, else its other weights.

    Averaged or not, they have the same structure.
    """
    components = {component.label: component for component in base.manifest.components}
    for label in (kind, *MODELS["both"]):
        if label in components and len(components[label].tensors):
            return components[label]
    has = ", ".join(map(printable, components)) or "nothing"
    raise UsageError(f"{base.location}: a base needs the weights of a model or of its ema, this one has {has}")


def _mismatch(checkpoint: Checkpoint, base: Checkpoint, wrong: tuple[Fit, ...]) -> BaseMismatchError:
    first = wrong[0]
    also = "".join(f"; {other.component} does not either" for other in wrong[1:])
    return BaseMismatchError(
        f"{checkpoint.location}, {first.component}: does not fit {base.location}, {first.base}: "
        f"{describe(first)}{also}; nothing was written",
        fits=wrong,
        hint="is this the base that it was trained from? "
        f"Tensors that the model can do without are named with {argument('optional')}",
    )


def describe(one: Fit) -> str:
    """Describe a misfit, with the first names of each kind.

    An example is `2 missing (a, b), 1 extra (c)`.
    """
    shapes = [
        f"{printable(name, 80)}: {kinds(found.dtypes[0].code, found.shapes[0])} against "
        f"{kinds(found.dtypes[1].code, found.shapes[1])}"
        for name, found in one.mismatched.items()
    ]
    missing, extra = ([printable(name, 80) for name in names] for names in (one.missing, one.extra))
    parts = [("missing", missing), ("extra", extra), ("mismatched", shapes)]
    return ", ".join(f"{len(names)} {word} ({_some(names)})" for word, names in parts if names)


def kinds(code: str, shape: tuple[int, ...]) -> str:
    """`F32 [8, 3]`."""
    return f"{code} {list(shape)}"


def _some(names: Sequence[str]) -> str:
    more = f", … {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

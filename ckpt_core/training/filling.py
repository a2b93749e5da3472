"""Fillings that are proved to fit first.

Each then fills an object, or leaves it as it was.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from ckpt_core.errors import LoadInterruptedError, LoadRefusedError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.manifests import Component
from ckpt_core.training.values import torch_state
from ckpt_core.verbs.load_into import LoadReport


class HasState(Protocol):
    """An object of a training with state of its own.

    A schedule, a scaler, an average, a loader.
    """

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


class Prepared(NamedTuple):
    """A state that was read and fits.

    With what is known of it, what fills the object, and what undoes that.

    Attributes:
        groups: Of an optimizer, the settings that are stored with it.
    """

    report: LoadReport
    fill: Callable[[], object]
    undo: Callable[[], object]
    groups: Sequence[Mapping[str, Any]] = ()


def prepare_object(target: HasState, checkpoint: StoredCheckpoint, part: Component) -> Prepared:
    """Return the filling of any object that has state.

    Its state is read whole.

    Raises:
        LoadRefusedError: It is the state of another kind of object; nothing was changed.
        CkptError: It cannot be read; nothing was changed.
    """
    values = torch_state(checkpoint, part)
    own = target.state_dict()
    where = f"{checkpoint.location}, {part.label}"
    strange = _strange_keys(values, own)
    if strange:
        raise LoadRefusedError(
            f"{where}: it has {strange}: it is not the state of a {type(target).__name__}; nothing was loaded"
        )
    refuse = getattr(target, "refuse", None)
    if callable(refuse):
        refuse(values)
    report = LoadReport(str(checkpoint.location), part.label, matched=tuple(part.tensors), coverage=1.0)
    before = copy.deepcopy(own)
    return Prepared(
        report,
        lambda: fill_or_undo(target, in_same_classes(values, own), before, where),
        lambda: target.load_state_dict(before),
    )


def fill_or_undo(target: HasState, values: Any, before: Any, where: str) -> None:
    """Give an object its state.

    Where it does not take it, the one that it had before.

    Raises:
        LoadRefusedError: It did not take the state, and is as it was.
        LoadInterruptedError: It is not as it was: it must not be used.
    """
    try:
        target.load_state_dict(values)
    except Exception as error:  # whatever an object of somebody else's raises
        name = type(target).__name__
        try:
            target.load_state_dict(before)
        except Exception as again:
            raise LoadInterruptedError(
                f"{where}: {name} did not take the state ({error}), nor its own back; it must not be used"
            ) from again
        raise LoadRefusedError(f"{where}: {name} does not take it ({error}); it is as it was") from error


def in_same_classes(values: Any, own: Any) -> Any:
    """Return values in the containers that an object has now.

    A Counter of milestones, an OrderedDict.
    """
    if isinstance(values, dict):
        kind = type(own) if isinstance(own, dict) else dict
        known = own if isinstance(own, Mapping) else {}
        made = {key: in_same_classes(item, known.get(key)) for key, item in values.items()}
        return made if kind is dict or not _takes_a_dict(kind) else kind(made)
    if isinstance(values, list) and isinstance(own, list) and len(values) == len(own):
        return [in_same_classes(item, held) for item, held in zip(values, own, strict=True)]
    return values


def _takes_a_dict(kind: type) -> bool:
    from collections import Counter, OrderedDict

    return issubclass(kind, Counter | OrderedDict)


def _strange_keys(values: Any, own: Any) -> str:
    """Return the keys that a state has too many or too few.

    Against the object's own; names with an underscore come and go.
    """
    if not isinstance(values, Mapping) or not isinstance(own, Mapping) or not own or not values:
        return "" if isinstance(values, Mapping) == isinstance(own, Mapping) else f"a {type(values).__name__}"
    stored, wanted = _plain_keys(values), _plain_keys(own)
    more, fewer = sorted(stored - wanted), sorted(wanted - stored)
    parts = [", ".join(more[:3])] if more else []
    parts += [f"no {', '.join(fewer[:3])}"] if fewer else []
    return " and ".join(parts)


def _plain_keys(values: Mapping[Any, Any]) -> set[str]:
    return {key for key in values if isinstance(key, str) and not key.startswith("_") and key != "verbose"}

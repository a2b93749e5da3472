"""Attributes of a model that are in no state_dict.

Saved as plain values and tensors, and put back under their names.

A router's maturity, or a library of skills, is a plain attribute; `state_dict` leaves it out without a word.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import argument
from ckpt_core.errors import LoadRefusedError, PluginError, UsageError
from ckpt_core.schema.text import printable, scrub
from ckpt_core.training.objects import bare

if TYPE_CHECKING:
    import torch

GROUP = "ckpt_core.extra_state"
"""The entry points of plugins that name such attributes: each a function from a model to `{path: [attributes]}`."""


class ExtraState:
    """The attributes of a model as an object that has state.

    The attributes of the objects in it may be named too.

    Give it to whatever saves and restores objects with `state_dict`; a Checkpointer makes one of `extra`.

    Args:
        model: A module, or any object; what wraps it (DistributedDataParallel, `torch.compile`) is looked through.
        attributes: Names of attributes by the path of the object that has them: `{"router": ["maturity"]}`; a path is
            of names with dots, and `""` is the model itself. None for those that plugins name alone.

    Raises:
        UsageError: There is no such object or attribute; or it is a parameter or a buffer that is saved already; or it
            is neither a plain value, nor a tensor, nor made of these.
        PluginError: A plugin failed to name its attributes.
    """

    def __init__(self, model: Any, attributes: Mapping[str, Sequence[str]] | None = None) -> None:
        self._model = bare(model)
        self._attributes = _merged(self._model, attributes or {})
        for path, name in self._names():
            _refuse_attribute(_object(self._model, path), path, name)

    def __bool__(self) -> bool:
        """Return whether there is any attribute."""
        return any(self._attributes.values())

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return the values by path and name.

        Tensors and containers are those of the model.
        """
        return {
            path: {name: _checked(getattr(_object(self._model, path), name), f"{path}.{name}") for name in names}
            for path, names in self._attributes.items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Mapping[str, Any]]) -> None:
        """Give each attribute its value.

        A tensor in its own memory, others as new objects on the same device.

        Raises:
            LoadRefusedError: It has other names, or a tensor of another shape; nothing was changed.
        """
        self.refuse(state_dict)
        for path, name in self._names():
            _assign(_object(self._model, path), name, state_dict[path][name])

    def refuse(self, state_dict: Mapping[str, Any]) -> None:
        """Raise the error with which `load_state_dict` would refuse a state, if any.

        Nothing is changed.
        """
        saved = {(path, name) for path, held in state_dict.items() for name in held}
        own = set(self._names())
        for path, name in sorted(saved ^ own):
            which = "was saved, and is not named here" if (path, name) in saved else "is named here, and was not saved"
            raise LoadRefusedError(f"extra: {_label(path, name)} {which}; nothing was changed")
        for path, name in sorted(own):
            _refuse_shape(getattr(_object(self._model, path), name), state_dict[path][name], _label(path, name))

    def _names(self) -> Iterator[tuple[str, str]]:
        for path, names in self._attributes.items():
            for name in names:
                yield path, name


def _merged(model: Any, given: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for attributes in (*_of_plugins(model), given):
        for path, names in attributes.items():
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise UsageError(f"{argument('extra')}: {printable(path)}: a list of names is needed, not {names!r}")
            known = found.setdefault(path, [])
            known += [name for name in names if name not in known]
    return found


def _of_plugins(model: Any) -> Iterator[Mapping[str, Sequence[str]]]:
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        try:
            found = point.load()(model)
        except Exception as error:
            raise PluginError(f"{point.name}: {GROUP}: {type(error).__name__}: {scrub(str(error))}") from error
        if found is not None and not isinstance(found, Mapping):
            raise PluginError(f"{point.name}: {GROUP}: gives a {type(found).__name__}, and a dict is needed")
        yield found or {}


def _object(model: Any, path: str) -> Any:
    found = model
    for part in path.split(".") if path else ():
        if not hasattr(found, part):
            where = f"a {type(found).__name__} has no {printable(part)}"
            raise UsageError(f"{argument('extra')}: {printable(path)}: {where}")
        found = getattr(found, part)
    return found


def _refuse_attribute(owner: Any, path: str, name: str) -> None:
    label = printable(_label(path, name))
    if not hasattr(owner, name):
        raise UsageError(f"{argument('extra')}: {label}: a {type(owner).__name__} has no such attribute")
    if name in getattr(owner, "_parameters", ()) or name in _saved_buffers(owner):
        raise UsageError(f"{argument('extra')}: {label}: it is in the state_dict of the model already; leave it out")
    _checked(getattr(owner, name), label)


def _saved_buffers(owner: Any) -> set[str]:
    return set(getattr(owner, "_buffers", ())) - set(getattr(owner, "_non_persistent_buffers_set", ()))


def _label(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _checked(value: Any, label: str) -> Any:
    """The value, if it is plain."""
    strange = _strange(value)
    if strange is not None:
        raise UsageError(
            f"{argument('extra')}: {label}: a {strange} is neither a plain value nor a tensor; "
            "keep it as numbers, texts, lists, dicts and tensors, or give the object that has it a state_dict"
        )
    return value


def _strange(value: Any) -> str | None:
    """Return the class of the first thing that cannot be saved.

    Of a value.
    """
    if value is None or type(value) in (bool, int, float, str, bytes) or _is_tensor(value):
        return None
    if type(value) in (list, tuple):
        return next((found for item in value if (found := _strange(item)) is not None), None)
    if isinstance(value, dict):
        keys = [key for key in value if type(key) not in (bool, int, float, str, bytes)]
        return type(keys[0]).__name__ if keys else _strange(list(value.values()))
    return type(value).__name__


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "untyped_storage") or type(value).__name__ == "ndarray"


def _refuse_shape(own: Any, saved: Any, label: str) -> None:
    if _is_tensor(own) and (not _is_tensor(saved) or tuple(own.shape) != tuple(saved.shape)):
        held = list(saved.shape) if _is_tensor(saved) else f"a {type(saved).__name__}"
        raise LoadRefusedError(f"extra: {label} is {held} there and {list(own.shape)} here; nothing was changed")


def _assign(owner: Any, name: str, value: Any) -> None:
    own = getattr(owner, name)
    if hasattr(own, "copy_") and own.dtype == value.dtype:
        import torch

        with torch.no_grad():
            own.copy_(value)
    else:
        setattr(owner, name, _moved(value, _device(own)))


def _device(value: Any) -> "torch.device | None":
    """The device of the first tensor in a value."""
    if hasattr(value, "untyped_storage"):
        return value.device
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((device for item in inner if (device := _device(item)) is not None), None)


def _moved(value: Any, device: "torch.device | None") -> Any:
    if hasattr(value, "untyped_storage"):
        return value.to(device) if device is not None else value
    if isinstance(value, dict):
        return type(value)((key, _moved(item, device)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    return value

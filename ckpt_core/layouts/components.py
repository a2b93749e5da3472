"""Finds the components in what torch.save wrote.

The keys at the top tell which part is the model and which the optimizer. The names are those that trainers use; a key
that is not known stays visible under its own name.
"""

import re
from collections.abc import Mapping
from typing import Any

from ckpt_core.schema.kinds import KINDS, WEIGHTS
from ckpt_core.schema.manifests import Component, in_order
from ckpt_core.schema.state import Array, Opaque, State, TensorRef, tensor_names, with_names
from ckpt_core.schema.tensors import TensorTable

_KIND_OF_KEY = {
    "model": "model",
    "state_dict": "model",
    "model_state": "model",
    "model_state_dict": "model",
    "net": "model",
    "network": "model",
    "module": "model",
    "weights": "model",
    "params": "model",
    "ema": "ema",
    "ema_model": "ema",
    "model_ema": "ema",
    "ema_state_dict": "ema",
    "params_ema": "ema",
    "optimizer": "optimizer",
    "optimizers": "optimizer",
    "optim": "optimizer",
    "optimizer_state": "optimizer",
    "optimizer_state_dict": "optimizer",
    "optimizer_states": "optimizer",
    "scheduler": "scheduler",
    "lr_scheduler": "scheduler",
    "lr_schedulers": "scheduler",
    "opt_param_scheduler": "scheduler",
    "scheduler_state_dict": "scheduler",
    "lr_scheduler_state_dict": "scheduler",
    "scaler": "scaler",
    "grad_scaler": "scaler",
    "scaler_state_dict": "scaler",
    "rng": "rng",
    "rng_state": "rng",
    "rng_states": "rng",
    "sampler": "sampler",
    "config": "config",
    "progress": "progress",
    "adapter": "adapter",
    "tokenizer": "tokenizer",
    "args": "config",
    "hparams": "config",
    "hyper_parameters": "config",
}
_AVERAGED = {"state_dict": "ema", "current_model_state": "model"}
"""What Lightning's WeightAveraging saves: the average where the model is otherwise, and the model beside it."""

_INNER = ("state_dict", "model_state_dict", "model_state")
_INNER_OF_OBJECT = (*_INNER, "ema", "ema_model", "model", "module")
_OPTIMIZER_KEYS = {"state", "param_groups"}
_WORDS = {"optim": "optimizer", "opt": "optimizer", "sched": "scheduler", "scaler": "scaler", "rng": "rng"}
"""Starts of words in keys that programs make up for what they have several of: `optim_g`, `torch_rng_state`."""

_WORD = re.compile(r"[a-z]+")

_GENERATORS = frozenset({"python", "numpy", "cpu", "cuda", "hpu", "mlu", "musa", "npu", "xla", "xpu"})
"""The keys of `rng_state.pth`, of which the first two are always there. Source: transformers, `_save_rng_state`."""


def components_of(root: State, tensors: TensorTable) -> tuple[Component, ...]:
    """Return the components of a saved object, in a manifest's order.

    Args:
        root: The object as plain state; its tensor leaves name rows of `tensors`.
        tensors: Every tensor, under its dotted path from the root.
    """
    return tuple(component for _, component in keyed_components(root, tensors))


def keyed_components(root: State, tensors: TensorTable) -> list[tuple[tuple[str, ...], Component]]:
    """Return the components, each with the keys that lead to it.

    The components are those of `components_of`. The keys lead from the root; there are none for a component that is the
    root itself.
    """
    if not isinstance(root, dict) or _is_state_dict(root):
        return [((), component_at("model", "", tensors, root, ""))]
    if root.keys() == _OPTIMIZER_KEYS:
        return [((), component_at("optimizer", "", tensors, root, ""))]
    if {"python", "numpy"} <= root.keys() <= _GENERATORS:
        return [((), component_at("rng", "", tensors, root, ""))]
    keyed = _from_keys(tensors, root)
    keys = {component.label: path for path, component in keyed}
    return [(keys[component.label], component) for component in in_order([component for _, component in keyed])]


def _is_state_dict(root: Mapping[Any, State]) -> bool:
    """Return True if a dict holds tensors directly and nests none."""
    return (
        bool(root)
        and all(not isinstance(value, dict | list | tuple) for value in root.values())
        and any(isinstance(value, TensorRef) or _is_odd(value) for value in root.values())
    )


def _is_odd(value: State) -> bool:
    return isinstance(value, Opaque) and bool(value.tensor)


def _from_keys(tensors: TensorTable, root: dict[Any, State]) -> list[tuple[tuple[str, ...], Component]]:
    keyed: list[tuple[tuple[str, ...], Component]] = []
    rest: dict[Any, State] = {}
    taken: set[str] = set()
    trained = any(_kind(str(key), value) in WEIGHTS for key, value in root.items())
    for key, value in root.items():
        kind = _AVERAGED.get(key) if _AVERAGED.keys() <= root.keys() else None
        kind = kind or _kind(str(key), value)
        has_tensors = _has_tensors(value)
        if kind is None and (not has_tensors or (trained and _is_scalar(value, tensors))):
            rest[key] = value
            continue
        kind, name = _label(str(key), kind, taken)
        taken |= set() if name else {kind}
        inner = _inner(value) if kind in ("model", "ema") else None
        if inner is None:
            keyed.append(((str(key),), component_at(kind, name, tensors, value, str(key))))
            continue
        fields = _fields(value)
        keyed.append(((str(key), inner), component_at(kind, name, tensors, fields[inner], f"{key}.{inner}")))
        beside: State = {k: v for k, v in fields.items() if k != inner}
        if isinstance(value, Opaque):
            beside = Opaque(value.class_name, value.args, beside)
        if beside:
            keyed.append(((str(key),), component_at("config", str(key), tensors, beside, str(key))))
    if rest:
        keyed.append(((), component_at("progress", "rest" if "progress" in taken else "", tensors, rest, "")))
    return keyed


def _kind(key: str, value: State) -> str | None:
    """Return the component kind that a key stands for.

    The key is one that trainers use, or a label of our own writer's (`model:critic`).
    """
    head, _, _ = key.partition(":")
    known = _KIND_OF_KEY.get(key.lower()) or (head if head in KINDS else None)
    return known or (_kind_of_words(key) if _holds_state(value) else None)


def _kind_of_words(key: str) -> str | None:
    words = [word for word in _WORD.findall(key.lower()) if word != "lr"]
    if "history" in words or "args" in words or "config" in words:
        return None
    for word in words:
        for start, kind in _WORDS.items():
            if word == start or (len(start) > 3 and word.startswith(start)):
                return kind
    return None


def _holds_state(value: State) -> bool:
    """Return True if a value can hold state.

    The state of an optimizer, a schedule or a generator is no number and no name.
    """
    return isinstance(value, dict | list | tuple | TensorRef | Array | Opaque)


def _is_scalar(value: State, tensors: TensorTable) -> bool:
    """Return True for a tensor of one number.

    Trainers keep a step or the best loss so, beside the weights.
    """
    return isinstance(value, TensorRef) and tensors.info(value.name).shape == ()


def _label(key: str, kind: str | None, taken: set[str]) -> tuple[str, str]:
    head, mark, name = key.partition(":")
    if mark and kind == head:
        return kind, name
    if kind is not None and kind not in taken:
        return kind, ""
    return kind or "model", key


def _inner(value: State) -> str | None:
    """Return the key of a state dict nested in another dict.

    It must be the only key with tensors, and one that trainers nest a state dict under. The same holds for an object,
    such as one that keeps an average and counts its updates.
    """
    known = _INNER_OF_OBJECT if isinstance(value, Opaque) else _INNER
    with_tensors = [key for key, item in _fields(value).items() if _has_tensors(item)]
    return with_tensors[0] if len(with_tensors) == 1 and with_tensors[0] in known else None


def _fields(value: State) -> dict[Any, State]:
    """Return the items of a dict, or an object's attributes.

    An object that is a tensor or was made of tensors has none.
    """
    if isinstance(value, Opaque) and not value.tensor and not any(map(_has_tensors, value.args)):
        value = value.state
    return value if isinstance(value, dict) else {}


def _has_tensors(value: State) -> bool:
    return next(iter(tensor_names(value)), None) is not None


def component_at(kind: str, name: str, tensors: TensorTable, value: State, prefix: str) -> Component:
    """Make a component from a part of a saved object.

    Plain state that is nothing but its tensors is left out.

    Args:
        kind: Kind of the component.
        name: Name of the component.
        tensors: Every tensor, under its dotted path from the root.
        value: The part.
        prefix: The dotted path to the part, which is taken off the names of its tensors.
    """
    names: dict[str, str] = {}
    start = f"{prefix}." if prefix else ""
    for old in tensor_names(value):
        names[old] = old.removeprefix(start)
    table: TensorTable = tensors.renamed(names)
    state = with_names(value, names)
    if isinstance(value, dict) and value and all(isinstance(item, TensorRef) for item in value.values()):
        state = None
    return Component(kind, table, state, name)

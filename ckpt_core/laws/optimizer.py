"""Checks that an optimizer fits these weights at this step.

Source of the shape of its state: torch `optim/optimizer.py` (Optimizer.state_dict, load_state_dict), which refuses
other numbers of groups and parameters; a state of another shape fails in the first step after it was loaded. Flat,
factored, projected and quantized states are not held against the weights.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.laws.tensor_infos import some
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import Array, State, TensorRef
from ckpt_core.schema.tensors import TensorTable
from ckpt_core.schema.text import printable

ELEMENTWISE = (
    "exp_avg",
    "exp_avg_sq",
    "max_exp_avg_sq",
    "momentum_buffer",
    "square_avg",
    "grad_avg",
    "acc_delta",
    "sum",
    "exp_inf",
    "ax",
    "prev",
)
"""Keys of states that have the shape of their parameter: those of torch's own optimizers."""

_PROJECTED = {"projector", "rank", "update_proj_gap"}
"""Keys of GaLore and its kin, whose moments are of a projection of the gradient."""

_ADAPTER = re.compile(r"(?<=lora_[AB])\.[\w-]+(?=\.weight$)|(?<=modules_to_save)\.[\w-]+(?=\.)")
_WRAPPERS = ("module.", "_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_DEEPEST = 3
_LONGEST = 60

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """The shapes of trainable tensors, by name without wrappers.

    An optimizer is compared with them.
    """

    shapes: Mapping[str, Shape]
    counts: Counter[Shape]

    @classmethod
    def of(cls, components: Sequence[Component]) -> "Weights | None":
        """Return the weights of all models and adapters.

        Else those of the averages; None where they say too little of what is trained.
        """
        weighted = [c for c in components if c.kind in ("model", "adapter") and len(c.tensors)]
        weighted = weighted or [c for c in components if c.kind == "ema" and len(c.tensors)]
        adapters = [name for c in weighted if c.kind == "adapter" for name in c.tensors]
        if not weighted or (adapters and not any("lora_" in name for name in adapters)):
            return None  # a prompt's encoder is trained, and what it comes to is saved
        rows = [(_bare(name), row.shape) for c in weighted for name, row in c.tensors.infos()]
        return cls(dict(rows), Counter(shape for _, shape in rows))


def optimizer_findings(component: Component, weights: Weights | None, step: int | None) -> Iterator[Finding]:
    """Yield the findings about one optimizer.

    Args:
        component: It.
        weights: What it trains; None to leave its parameters unjudged.
        step: How far the training was; None where that is not known.

    Yields:
        RS002, it is no optimizer; RS003, it has no state after its first step; RS004, it is of other parameters.
    """
    state = component.state
    if isinstance(state, str | bytes | int | float | TensorRef | Array):
        kind = "a tensor" if isinstance(state, TensorRef | Array) else f"a {type(state).__name__}"
        yield _error("RS002", component, f"{kind} where the state of an optimizer belongs")
        return
    trees = list(state_trees(state))
    for tree in trees:
        yield from _judged(component, tree, step)
    if weights is not None:
        yield from _strangers(component, trees, weights)


def state_trees(state: State, depth: int = _DEEPEST) -> Iterator[dict[Any, Any]]:
    """Yield the state dicts of torch's optimizers in a component.

    It may hold several. A store of single values, such as torch.distributed.checkpoint, keeps no empty `state`: groups
    alone are one, too.
    """
    if isinstance(state, dict) and "param_groups" in state and ("state" in state or _has_params(state)):
        yield {"state": {}, **state}
    elif isinstance(state, dict | list | tuple) and depth:
        for item in state.values() if isinstance(state, dict) else state:
            yield from state_trees(item, depth - 1)


def _has_params(tree: Mapping[Any, Any]) -> bool:
    """Return True if the groups list parameters.

    Every optimizer of torch's saves them so.
    """
    groups = tree["param_groups"]
    return isinstance(groups, list | tuple) and any("params" in group for group in _dicts(groups))


def _judged(component: Component, tree: Mapping[Any, Any], step: int | None) -> Iterator[Finding]:
    state, groups = tree["state"], tree["param_groups"]
    for key, value, wanted in (("state", state, dict | list), ("param_groups", groups, list | tuple | dict)):
        if not isinstance(value, wanted):
            yield _error("RS002", component, f"its {key} is a {type(value).__name__}: no optimizer is saved so")
            return
    if not groups:
        yield _error("RS002", component, "it has no parameter groups: no optimizer is without")
    elif _is_empty(state) and step and not _stateless(groups):
        message = f"it has no state at step {step}: it was saved anew, or before the first step"
        none = argument("without", ["optimizer"])
        hint = f"go back to a checkpoint that has it; where the optimizer keeps no state, add {none}"
        yield _error("RS003", component, message, hint)


def _is_empty(state: Any) -> bool:
    """Return True if there is no state for any parameter."""
    return all(item in ({}, [], None) for item in (state.values() if isinstance(state, dict) else state))


def _stateless(groups: Any) -> bool:
    """Return True if every group is of SGD without momentum.

    That optimizer keeps nothing.
    """
    listed = list(groups.values()) if isinstance(groups, dict) else groups
    return all(isinstance(group, dict) and group.get("momentum") == 0 and "betas" not in group for group in listed)


def _strangers(component: Component, trees: Sequence[Mapping[Any, Any]], weights: Weights) -> Iterator[Finding]:
    """Yield RS004 for parameters and states without a weight.

    There are more parameters than weights, or states of shapes that no weight has.
    """
    groups = [group for tree in trees for group in _dicts(tree["param_groups"])]
    states = [(key, item) for tree in trees if isinstance(tree["state"], dict) for key, item in tree["state"].items()]
    if any(_PROJECTED & keys.keys() for keys in [*groups, *_dicts([item for _, item in states])]):
        return
    total, over = weights.counts.total(), sum(len(group.get("params") or ()) for group in groups)
    if over > total:
        yield _stranger(component, f"it is over {over} parameters, and the weights are {total} tensors")
        return
    shapes = {key: shape for key, item in states if (shape := _shape(item, component.tensors)) is not None}
    lacking = Counter(shapes.values()) - weights.counts
    flat = all(len(shape) == 1 for shape in shapes.values()) and any(len(shape) > 1 for shape in weights.counts)
    strange = _unknown_names([key for key, _ in states], weights)
    if strange and not flat:
        yield _stranger(component, f"its states of {some(strange)} are of no weight that is here")
        return
    if lacking and not flat:
        shown = ", ".join(map(str, [list(shape) for shape in lacking][:3]))
        message = f"{lacking.total()} of its {len(shapes)} states are of shapes that no such weight has: {shown}"
        yield _stranger(component, message)
        return
    for key, shape in shapes.items():
        own = weights.shapes.get(_bare(key)) if isinstance(key, str) else None
        if own is not None and own != shape and not flat:
            name = printable(str(key), _LONGEST)
            yield _stranger(component, f"its state of {name} has the shape {list(shape)}, and the weight {list(own)}")
            return


def _unknown_names(keys: Sequence[Any], weights: Weights) -> list[str]:
    """Return the names of states that no weight has.

    Other names must show that weights and states are named alike. A parametrized weight is saved by some tools under
    the name that it has without.
    """
    if not all(isinstance(key, str) for key in keys):
        return []
    strange = [key for key in keys if _bare(key) not in weights.shapes]
    if not strange or len(strange) == len(keys):
        return []
    known = {_plain(name) for name in weights.shapes}
    return [key for key in strange if _plain(key) not in known and "parametrizations" not in key]


def _plain(name: str) -> str:
    """Return a name without wrappers and without an adapter's name.

    PEFT leaves the adapter's name out where it saves.
    """
    return _ADAPTER.sub("", _bare(name))


def _dicts(items: Any) -> list[Mapping[Any, Any]]:
    listed = items.values() if isinstance(items, dict) else items if isinstance(items, list | tuple) else ()
    return [item for item in listed if isinstance(item, dict)]


def _shape(item: State, tensors: TensorTable) -> Shape | None:
    """Return the shape of the first state shaped like its parameter.

    None where there is none such.
    """
    leaves = [item.get(key) for key in ELEMENTWISE] if isinstance(item, dict) else []
    return next((tensors.info(leaf.name).shape for leaf in leaves if isinstance(leaf, TensorRef)), None)


def _bare(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _stranger(component: Component, message: str) -> Finding:
    return _error("RS004", component, message, "take the optimizer of the same save, or train on without it")


def _error(code: str, component: Component, message: str, hint: str | None = None) -> Finding:
    return Finding(code, Severity.ERROR, f"{component.label}: {message}", hint=hint, component=component.label)

"""The optimizer's state by parameter.

What ranks hold of flat groups is cut at the parameters' bounds.

Moments are cut as the weights are. What a group has one of, such as its step, every parameter of it gets.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ckpt_core import Component, Finding, Severity, State, TensorRef, printable
from ckpt_fsdp.deepspeed.rank_files import OptimStates
from ckpt_fsdp.deepspeed.state_trees import without_objects
from ckpt_fsdp.deepspeed.tag_content import TagContent
from ckpt_fsdp.deepspeed.zero.flat_groups import GroupSpace, chains
from ckpt_fsdp.deepspeed.zero.partitions import Space
from ckpt_fsdp.deepspeed.zero.tables import Row, in_file, in_space, table_of


def optimizer(content: TagContent, spaces: Iterable[GroupSpace]) -> tuple[Component, list[Finding]]:
    """Return the component `optimizer`.

    `state` is by parameter name, and `param_groups` has names in `params`.
    """
    rows: dict[str, Row] = {}
    state: dict[str, dict[str, State]] = {}
    findings: list[Finding] = []
    names: dict[int, list[str]] = {}
    for group in spaces:
        for name in group.places:
            state[name] = {}
        for number in group.groups:
            names[number] = [] if number != group.groups[0] else list(group.places)
        for key in _keys(content, group):
            findings += _add(content, group, key, rows, state)
    first = content.first
    groups = named_groups(first.param_groups if first is not None else None, names)
    return Component("optimizer", table_of(rows), {"state": state, "param_groups": groups}), findings


def named_groups(options: list[dict[Any, State]] | None, names: Mapping[int, list[str]]) -> list[dict[Any, State]]:
    """Return parameter groups with names in `params`.

    Args:
        options: The groups as they are stored, with numbers of flat groups in `params`; None where none are.
        names: The parameters of each flat group, by its number.
    """
    if options is None:
        return [{"params": inside} for inside in names.values()]
    groups: list[dict[Any, State]] = []
    for group in options:
        numbers = group.get("params")
        inside = [name for n in numbers for name in names.get(n, [])] if isinstance(numbers, list) else []
        groups.append({**{key: without_objects(value) for key, value in group.items()}, "params": inside})
    return groups


def _keys(content: TagContent, group: GroupSpace) -> list[str]:
    """Return the keys of a group's state, on any rank."""
    return list(dict.fromkeys(key for o in content.optims.values() for n in group.groups for key in _state(o, n)))


def _state(optim: OptimStates, number: int) -> Mapping[str, State]:
    return optim.states[number] if number < len(optim.states) else {}


def _add(
    content: TagContent, group: GroupSpace, key: str, rows: dict[str, Row], state: dict[str, dict[str, State]]
) -> list[Finding]:
    """Give each parameter what its group has under a key.

    ZE012 where that has no known layout.
    """
    sound = {rank: optim for rank, optim in content.optims.items() if group.space.chains[rank] is not None}
    values = {rank: [_state(optim, n).get(key) for n in group.groups] for rank, optim in sound.items()}
    if not values:
        return []
    first = next(iter(values.values()))[0]
    if not any(isinstance(value, TensorRef) for parts in values.values() for value in parts):
        for name in group.places:
            state[name][key] = without_objects(first)
        return []
    if _is_scalar(content, values):
        rank = min(values)
        for name in group.places:
            rows[f"state.{name}.{key}"] = in_file(content.optims[rank].torch.tensors, _ref(first))
            state[name][key] = TensorRef(f"state.{name}.{key}")
        return []
    if not _fits(content, group, values):
        return [_unknown(content, key)]
    dtype, by_rank, findings = chains(content, {rank: [_ref(part) for part in parts] for rank, parts in values.items()})
    space = Space(dtype, by_rank, group.space.partition)
    for name, place in group.places.items():
        rows[f"state.{name}.{key}"] = in_space(space, place)
        state[name][key] = TensorRef(f"state.{name}.{key}")
    return findings


def _ref(value: State) -> str:
    assert isinstance(value, TensorRef)
    return value.name


def _is_scalar(content: TagContent, values: Mapping[int, list[State | None]]) -> bool:
    return all(
        isinstance(part, TensorRef) and content.optims[rank].torch.tensors.info(part.name).shape == ()
        for rank, parts in values.items()
        for part in parts
    )


def _fits(content: TagContent, group: GroupSpace, values: Mapping[int, list[State | None]]) -> bool:
    """Return True if every rank has as many elements as weights.

    The padding of the weights may count or not.
    """
    for rank, parts in values.items():
        numel = 0
        for part in parts:
            if not isinstance(part, TensorRef):
                return False
            numel += content.optims[rank].torch.tensors.info(part.name).numel
        if rank in group.stored and numel not in (group.stored[rank], group.space.partition):
            return False
    return True


def _unknown(content: TagContent, key: str) -> Finding:
    first = content.first
    assert first is not None
    path = content.path(first.file.name)
    message = f"{printable(path)}: the optimizer's {printable(key, 60)} is not cut as its weights are, and is left out"
    hint = "the weights are whole; have DeepSpeed itself resume from this checkpoint"
    return Finding("ZE012", Severity.WARNING, message, path, hint=hint)

"""Builds the weights of a tag.

fp32 out of the partitions, with what is tied, frozen or a buffer; and the module as it ran.

The names are those of the module's state dict, in its order. DeepSpeed's own script leaves out what is frozen at stage
1 and widens buffers to fp32; here they are as they are stored.
"""

from collections.abc import Iterable, Mapping
from math import prod

from ckpt_core import Component, Finding, Severity, State, TensorRef, printable
from ckpt_fsdp.deepspeed.fields import Shape, broken
from ckpt_fsdp.deepspeed.rank_files import ModelStates
from ckpt_fsdp.deepspeed.tag_content import TagContent
from ckpt_fsdp.deepspeed.zero.flat_groups import GroupSpace, vector
from ckpt_fsdp.deepspeed.zero.partitions import Chain, FlatStretch, Space
from ckpt_fsdp.deepspeed.zero.tables import Row, in_file, in_space, table_of, tied

MODULE = "module"
"""Name of the component with the weights that the module ran with: of 16 bits where there are fp32 masters."""


def trained_rows(spaces: Iterable[GroupSpace]) -> dict[str, Row]:
    """Return the rows of the trained parameters."""
    return {name: in_space(group.space, place) for group in spaces for name, place in group.places.items()}


def weights(content: TagContent, trained: Mapping[str, Row]) -> tuple[list[Component], list[Finding]]:
    """Return the component `model`, and perhaps `model:module`.

    The latter where the module is stored whole beside it.
    """
    model = content.model
    rows: dict[str, Row] = {}
    others: dict[str, State] = {}
    findings: list[Finding] = []
    partitioned = model.file.rank is not None
    frozen = _frozen(content) if partitioned else {}
    for name, value in model.module.items():
        if name in trained:
            rows[name] = trained[name]
        elif name in frozen:
            rows[name] = frozen[name]
        elif not isinstance(value, TensorRef):
            others[name] = value
        elif not (partitioned and _is_placeholder(model, value)):
            rows[name] = _stored(model, value)
        elif name not in model.shared:
            findings.append(_left_out(model, name))
    rows |= {name: row for name, row in (*trained.items(), *frozen.items()) if name not in rows}
    rows = _with_tied(model, rows)
    components = [Component("model", table_of(rows), others or None)]
    if trained and not partitioned:
        components.append(module_component(model))
    return components, findings


def module_component(model: ModelStates) -> Component:
    """Return the module's own state dict as a component."""
    rows = {name: _stored(model, value) for name, value in model.module.items() if isinstance(value, TensorRef)}
    return Component("model", table_of(_with_tied(model, rows)), None, MODULE)


def _stored(model: ModelStates, value: TensorRef) -> Row:
    return in_file(model.torch.tensors, value.name)


def _is_placeholder(model: ModelStates, value: TensorRef) -> bool:
    """Return True for the empty tensor of a parameter.

    Stage 3 keeps one in the place of each parameter.
    """
    return model.torch.tensors.info(value.name).shape == (0,)


def _with_tied(model: ModelStates, rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return the rows and the tied ones in module order."""
    every = dict(rows)
    for name, stored in model.shared.items():
        if stored in rows:
            every[name] = tied(rows, stored)
    order = [name for name in model.module if name in every]
    return {name: every[name] for name in dict.fromkeys([*order, *every])}


def _frozen(content: TagContent) -> dict[str, Row]:
    """Return the rows that are not trained at stage 3.

    Each rank has its part of each parameter.
    """
    model = content.model
    ranks = {0: model, **content.others}
    return {name: _frozen_row(content, ranks, name, shape) for name, shape in (model.frozen or {}).items()}


def _frozen_row(content: TagContent, ranks: Mapping[int, ModelStates], name: str, shape: Shape) -> Row:
    by_rank: list[Chain | None] = [None] * content.world
    kinds = set()
    for rank, states in ranks.items():
        value = states.fragments.get(name)
        if not isinstance(value, TensorRef):
            raise broken(states.values.path, f"it has no part of the frozen parameter {printable(name)}")
        dtype, _, part = vector(states.torch.tensors, value.name)
        kinds.add(dtype)
        if part.numel < _least(shape, rank, content.world):
            raise broken(states.values.path, f"its part of {printable(name)} has {part.numel} elements, too few")
        by_rank[rank] = Chain([part])
    if len(kinds) > 1:
        raise broken(model_path(ranks), f"the parts of {printable(name)} are of {len(kinds)} types")
    return in_space(Space(kinds.pop(), tuple(by_rank), None), FlatStretch(shape, 0))


def _least(shape: Shape, rank: int, world: int) -> int:
    numel = prod(shape)
    part = -(-numel // world)
    return min(max(numel - rank * part, 0), part)


def model_path(ranks: Mapping[int, ModelStates]) -> str:
    return ranks[min(ranks)].values.path


def _left_out(model: ModelStates, name: str) -> Finding:
    """Return ZE013 for a parameter that nobody saved."""
    message = f"{printable(name)}: not saved (exclude_frozen_parameters?): no rank has a part of it"
    return Finding("ZE013", Severity.INFO, message, model.values.path, name, "take it from the base model")

"""Opens universal checkpoints.

There is one file for each parameter and each of its moments, as ds_to_universal writes them.

Names and shapes are those of the model_states files beside them; so is what is not trained.
Source: DeepSpeed, `checkpoint/ds_to_universal.py`, `checkpoint/universal_checkpoint.py` (load_hp_checkpoint_state).
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from ckpt_core import Component, DType, Files, Finding, Severity, State, TensorRef, printable
from ckpt_core.codecs import read_torch_file
from ckpt_fsdp.deepspeed.fields import Fields, Shape, broken
from ckpt_fsdp.deepspeed.names import Tag
from ckpt_fsdp.deepspeed.state_trees import without_objects
from ckpt_fsdp.deepspeed.tag_content import TagContent
from ckpt_fsdp.deepspeed.tag_opening import open_models
from ckpt_fsdp.deepspeed.training_state import training_components
from ckpt_fsdp.deepspeed.weights import weights
from ckpt_fsdp.deepspeed.zero.flat_groups import vector
from ckpt_fsdp.deepspeed.zero.optimizer_state import named_groups
from ckpt_fsdp.deepspeed.zero.partitions import Chain, FlatStretch, Space
from ckpt_fsdp.deepspeed.zero.tables import Row, in_file, in_space, table_of

if TYPE_CHECKING:
    from ckpt_core.codecs import TorchFile

_WEIGHT = "fp32"
_COMMON = "zero/optimizer_state.pt"


class _Universal:
    """The rows and state found in the parameters' folders."""

    def __init__(self, files: Files, content: TagContent) -> None:
        self.files = files
        self.content = content
        self.torches: list[TorchFile] = []
        self.trained: dict[str, Row] = {}
        self.moments: dict[str, Row] = {}
        self.state: dict[str, dict[str, State]] = {}

    def add(self, name: str, shape: Shape, keys: list[str]) -> None:
        """Read the files of a parameter."""
        self.state[name] = {}
        for key in keys:
            row, value = self._read(name, key, shape)
            if key == _WEIGHT and row is not None:
                self.trained[name] = row
            elif row is not None:
                self.moments[f"state.{name}.{key}"] = row
                self.state[name][key] = TensorRef(f"state.{name}.{key}")
            else:
                self.state[name][key] = without_objects(value)
        if _WEIGHT not in keys:
            self.trained[name] = in_space(Space(DType.F32, (None,), None), FlatStretch(shape, 0))
            self.content.findings.append(_missing(self.content, name))

    def _read(self, name: str, key: str, shape: Shape) -> tuple[Row | None, State]:
        path = self.content.path(f"zero/{name}/{key}.pt")
        file = read_torch_file(self.files, path)
        self.torches.append(file)
        root = file.root
        value = root.get("param") if isinstance(root, dict) else root
        if not isinstance(value, TensorRef):
            if key == _WEIGHT or isinstance(value, dict | list):
                raise broken(path, "it holds no tensor")
            return None, value
        dtype, stored, part = vector(file.tensors, value.name)
        if stored == () and shape != ():
            return in_file(file.tensors, value.name), None
        if part.numel < prod(shape):
            raise broken(path, f"it has {part.numel} elements, and {printable(name)} is of shape {shape}")
        return in_space(Space(dtype, (Chain([part]),), None), FlatStretch(shape, 0)), None


def open_universal(
    files: Files, folder: str, tag: Tag
) -> "tuple[list[Component], list[Finding], list[TorchFile], int | None]":
    """Return the content of a universal checkpoint.

    Its components, its findings, its files, and its step; raises as `open_tag`.
    """
    content = open_models(files, folder, tag)
    universal = _Universal(files, content)
    groups = content.model.groups or []
    keys = _keys_by_parameter(files, content)
    content.findings += _missing_moments(content, groups, keys)
    for shapes in groups:
        for name, shape in shapes.items():
            universal.add(name, shape, keys.get(name, []))
    common = _common(files, content, universal)
    components, findings = weights(content, universal.trained)
    names = {number: list(shapes) for number, shapes in enumerate(groups)}
    _add_scalars(common, names, universal)
    tree = {"state": universal.state, "param_groups": named_groups(_options(common), names)}
    components.append(Component("optimizer", table_of(universal.moments), tree))
    scaling = Fields(common.root, common.path) if common is not None else None
    name = (folder or files.location.member or files.location.name).rpartition("/")[2]
    components += training_components(content.model, scaling, name, _stage(content))
    torches = [*content.torches, *universal.torches]
    return components, [*content.findings, *findings], torches, content.model.values.number("global_steps")


def _keys_by_parameter(files: Files, content: TagContent) -> dict[str, list[str]]:
    """Return the files in each parameter's folder.

    The weight first, without their suffix.
    """
    start = content.path("zero/")
    by_name: dict[str, list[str]] = {}
    for path in files.entries:
        name, _, key = path.removeprefix(start).rpartition("/")
        if path.startswith(start) and name and key.endswith(".pt"):
            by_name.setdefault(name, []).append(key.removesuffix(".pt"))
    return {name: sorted(keys, key=lambda key: (key != _WEIGHT, key)) for name, keys in by_name.items()}


def _common(files: Files, content: TagContent, universal: _Universal) -> "TorchFile | None":
    """Return the file that all parameters share.

    It has groups and loss scale; None where the file is not there.
    """
    path = content.path(_COMMON)
    if path not in files.entries:
        what = "the groups of the optimizer and the loss scale are in it; DeepSpeed refuses to load without it"
        content.findings.append(_lost_state(path, what))
        return None
    file = read_torch_file(files, path)
    universal.torches.append(file)
    return file


def _root(common: "TorchFile | None") -> Mapping[str, Any]:
    return common.root if common is not None and isinstance(common.root, dict) else {}


def _add_scalars(common: "TorchFile | None", names: Mapping[int, list[str]], content: _Universal) -> None:
    """Give parameters the scalars of their group.

    Stage 3 keeps them once a group, in the state that the first rank had: the step.
    """
    inner = _root(common).get("optimizer_state_dict")
    states = inner.get("state") if isinstance(inner, dict) else None
    for number, state in states.items() if isinstance(states, dict) else ():
        for key, value in state.items() if isinstance(state, dict) else ():
            for name in names.get(number, []):
                _add_scalar(common, name, key, value, content)


def _add_scalar(common: "TorchFile | None", name: str, key: str, value: State, content: _Universal) -> None:
    if key in content.state[name] or common is None:
        return
    if isinstance(value, int | float):
        content.state[name][key] = value
    elif isinstance(value, TensorRef) and common.tensors.info(value.name).shape == ():
        content.moments[f"state.{name}.{key}"] = in_file(common.tensors, value.name)
        content.state[name][key] = TensorRef(f"state.{name}.{key}")


def _options(common: "TorchFile | None") -> list[dict[Any, State]] | None:
    groups = _root(common).get("param_groups")
    known = isinstance(groups, list) and all(isinstance(group, dict) for group in groups)
    return groups if known else None


def _stage(content: TagContent) -> int:
    zero = content.model.config.get("zero_optimization")
    stage = zero.get("stage") if isinstance(zero, dict) else None
    return stage if type(stage) is int else 0


def _missing_moments(
    content: TagContent, groups: list[dict[str, Shape]], keys: Mapping[str, list[str]]
) -> Iterator[Finding]:
    """Yield ZE003 for moments that only some parameters have."""
    names = [name for shapes in groups for name in shapes]
    every = sorted({key for name in names for key in keys.get(name, []) if key != _WEIGHT})
    for name in names:
        for key in every:
            if key not in keys.get(name, []):
                yield _lost_state(content.path(f"zero/{name}/{key}.pt"), f"the {key} of {printable(name)} is in it")


def _lost_state(path: str, what: str) -> Finding:
    message = f"{printable(path)}: missing, and {what}"
    hint = "copy it from where the checkpoint was written"
    return Finding("ZE003", Severity.ERROR, message, path, None, hint, component="optimizer")


def _missing(content: TagContent, name: str) -> Finding:
    path = content.path(f"zero/{name}/{_WEIGHT}.pt")
    message = f"{printable(path)}: missing, and the weights of {printable(name)} are in it"
    return Finding("ZE003", Severity.ERROR, message, path, name, "copy it from where the checkpoint was written")

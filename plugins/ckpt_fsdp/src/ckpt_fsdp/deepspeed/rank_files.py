"""Reads DeepSpeed's model_states and optim_states files.

One or several for each rank.

Source: DeepSpeed, `runtime/engine.py` (_common_checkpoint_state, _save_zero_checkpoint), and the state_dict of
`runtime/zero/stage_1_and_2.py`, `runtime/zero/stage3.py` and `runtime/bf16_optimizer.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ckpt_core import CorruptError, Files, Opaque, State, UnsupportedFormatError, printable
from ckpt_fsdp.deepspeed.fields import Fields, Shape, broken, members, shapes_of
from ckpt_fsdp.deepspeed.names import RankFile

if TYPE_CHECKING:
    from ckpt_core.codecs import TorchFile

_OWN_KEYS = frozenset(
    [
        "buffer_names",
        "checkpoint_parallel_dimensions",
        "csr_tensor_module_names",
        "data_sampler",
        "dp_world_size",
        "ds_config",
        "ds_version",
        "frozen_param_fragments",
        "frozen_param_shapes",
        "global_samples",
        "global_steps",
        "lr_scheduler",
        "module",
        "mp_world_size",
        "num_experts",
        "optimizer",
        "param_shapes",
        "random_ltd",
        "shared_params",
        "skipped_steps",
        "sparse_tensor_module_names",
        "universal_checkpoint_info",
    ]
)
"""Keys of DeepSpeed's own in a model_states file; every other one is the caller's client_state."""

_EXPERTS = ("ds_autoep_layers", "autoep_layers")


@dataclass(frozen=True, slots=True)
class ModelStates:
    """A model_states file.

    Attributes:
        file: The name of the file.
        torch: What it holds, as every torch file is read.
        module: The module's state dict: references to tensors, and whatever else a module adds.
        groups: Shapes of the trained parameters by name, a dict for each group of the flat fp32 weights, in the order
            in which they lie there; None where ZeRO was off.
        shared: The name of the stored parameter by the name of one that is tied to it.
        frozen: Shapes of what is not trained, by name; None where that was left out or not saved.
        fragments: References to the stored part of each frozen parameter.
        values: All other keys.
    """

    file: RankFile
    torch: "TorchFile"
    module: Mapping[str, State]
    groups: list[dict[str, Shape]] | None
    shared: Mapping[str, str]
    frozen: Mapping[str, Shape] | None
    fragments: Mapping[str, State]
    values: Fields

    @property
    def client_state(self) -> dict[Any, State]:
        return {key: value for key, value in self.values.values.items() if key not in _OWN_KEYS and key not in _EXPERTS}

    @property
    def config(self) -> Mapping[str, Any]:
        """The ds_config; empty where it is no dict."""
        config = self.values.values.get("ds_config")
        return config if isinstance(config, dict) else {}


@dataclass(frozen=True, slots=True)
class OptimStates:
    """An optim_states file.

    Attributes:
        file: The name of the file.
        torch: What it holds, as every torch file is read.
        stage: The ZeRO stage; 1 where BF16_Optimizer wrote it, which says nothing of a stage.
        padded: Whether the flat weights have their padding at the end.
        flat: Names of the flat fp32 weights, one for each group.
        padding: Elements of padding that each group of this rank has, stored or not.
        between: Elements of padding behind each parameter of each group; None where there are none.
        partitions: How many ranks share each group.
        states: The optimizer's state of each group, by key.
        param_groups: The optimizer's own groups: options, and under `params` the numbers of the states.
        fragments: First element and number of elements that this rank says to have of each parameter, for each group;
            None where the stage writes none.
        version: The version of DeepSpeed.
        values: The optimizer's state dict.
    """

    file: RankFile
    torch: "TorchFile"
    stage: int
    padded: bool
    flat: list[str]
    padding: list[int]
    between: list[list[int]] | None
    partitions: list[int]
    states: list[Mapping[str, State]]
    param_groups: list[dict[Any, State]] | None
    fragments: list[dict[str, tuple[int, int]]] | None
    version: str | None
    values: Fields

    @property
    def rank(self) -> int:
        return self.file.rank or 0


def read_model_states(files: Files, folder: str, file: RankFile) -> ModelStates:
    """Read a model_states file.

    Raises:
        FormatError: It is no sound torch file, would run code, or is not what DeepSpeed writes.
    """
    torch, fields = _open(files, folder, file)
    if any(fields.values.get(key) is not None for key in _EXPERTS):
        raise unsupported(fields.path, "its experts are split among the ranks")
    module = fields.values.get("module")
    if module is None:
        raise unsupported(fields.path, "its weights are in files of pipeline stages")
    if not isinstance(module, dict) or not all(isinstance(name, str) for name in module):
        raise broken(fields.path, "it has no module")
    frozen = fields.values.get("frozen_param_shapes")
    return ModelStates(
        file=file,
        torch=torch,
        module=module,
        groups=fields.shapes("param_shapes"),
        shared={name: str(stored) for name, stored in fields.mapping("shared_params").items()},
        frozen=None if frozen is None else shapes_of(frozen, "frozen_param_shapes", fields.path),
        fragments=fields.mapping("frozen_param_fragments"),
        values=fields,
    )


def read_optim_states(files: Files, folder: str, file: RankFile) -> OptimStates:
    """Read an optim_states file; raises as `read_model_states`."""
    torch, outer = _open(files, folder, file)
    fields = outer.below("optimizer_state_dict")
    if "ds_zero_partition_groups" in fields.values:
        raise unsupported(fields.path, "its experts are split among the ranks")
    stage = _stage(fields)
    flat = fields.refs("fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups")
    if flat is None:
        raise unsupported(fields.path, "its fp32 weights lie as old versions of DeepSpeed cut them, or on a disk")
    inner = fields.below("optimizer_state_dict") if stage == 3 else fields
    states, groups = _states(inner, "" if stage == 3 else "base_optimizer_state", len(flat))
    between = fields.values.get("param_alignment_paddings")
    return OptimStates(
        file=file,
        torch=torch,
        stage=stage,
        padded=stage < 3 and "zero_stage" not in fields.values,
        flat=flat,
        padding=fields.numbers("group_paddings") or [0] * len(flat),
        between=None if between is None else _lists(between, fields.path),
        partitions=fields.numbers("partition_count") or [],
        states=states,
        param_groups=groups,
        fragments=_fragments(fields),
        version=outer.text("ds_version"),
        values=fields,
    )


def unsupported(path: str, reason: str) -> UnsupportedFormatError:
    """Return ZE010 with a reason."""
    return UnsupportedFormatError(
        f"{printable(path)}: {reason}, which is not read here; have DeepSpeed make a universal checkpoint of it "
        "(python -m deepspeed.checkpoint.ds_to_universal), or save the weights from the training itself",
        code="ZE010",
        path=path,
    )


def _open(files: Files, folder: str, file: RankFile) -> "tuple[TorchFile, Fields]":
    from ckpt_core.codecs import read_torch_file

    path = f"{folder}/{file.name}" if folder else file.name
    try:
        torch = read_torch_file(files, path)
    except UnsupportedFormatError as error:
        if error.code != "FM001":
            raise
        # Its name says whose it is: another program's content in it is damage.
        raise CorruptError(error.message, code="TF001", path=path) from None
    return torch, Fields(torch.root, path)


def _stage(fields: Fields) -> int:
    value = fields.values.get("zero_stage", 1)
    if isinstance(value, Opaque) and len(value.args) == 1:
        value = value.args[0]
    if type(value) is not int or value not in (1, 2, 3):
        raise broken(fields.path, f"zero_stage is {printable(repr(value), 80)}")
    return value


def _states(fields: Fields, key: str, count: int) -> tuple[list[Mapping[str, State]], list[dict[Any, State]] | None]:
    """Return the state of each group, and the options.

    DeepSpeed keeps a list of states and no options without padding.
    """
    base = fields.values.get(key) if key else fields.values
    if isinstance(base, list):
        return [_by_name(state, fields.path) for state in base], None
    if not isinstance(base, dict) or not isinstance(base.get("state"), dict):
        return [{}] * count, None
    state, groups = base["state"], base.get("param_groups")
    known = groups if isinstance(groups, list) and all(isinstance(group, dict) for group in groups) else None
    return [_by_name(state.get(number, {}), fields.path) for number in range(count)], known


def _by_name(state: State, path: str) -> Mapping[str, State]:
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise broken(path, "its optimizer has a state without names")
    return state


def _lists(value: State, path: str) -> list[list[int]]:
    rows = value if isinstance(value, list) else [None]
    lists = [row for row in rows if isinstance(row, list) and all(type(n) is int and n >= 0 for n in row)]
    if len(lists) < len(rows):
        raise broken(path, "param_alignment_paddings is no list of numbers for each group")
    return lists


def _fragments(fields: Fields) -> list[dict[str, tuple[int, int]]] | None:
    groups = fields.values.get("param_slice_mappings")
    if not isinstance(groups, list):
        return None
    return [{name: _address(item, fields.path) for name, item in group.items()} for group in groups]


def _address(item: State, path: str) -> tuple[int, int]:
    address = members(item, ("numel", "start"))
    if address is None or type(address["start"]) is not int or type(address["numel"]) is not int:
        raise broken(path, "param_slice_mappings has no address for a parameter")
    return address["start"], address["numel"]

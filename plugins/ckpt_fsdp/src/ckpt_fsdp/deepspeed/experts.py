"""Opens a tag whose experts lie in files of their own.

Their weights go beside the module's, and each expert is counted.

The names in an expert's file are those of the whole model, so that nothing has to be put together. What the optimizer
keeps of experts is cut among their ranks, and stays as each rank wrote it.

Source: DeepSpeed `runtime/engine.py` (_save_moe_checkpoint, _get_expert_ckpt_name, _get_optimizer_ckpt_name).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckpt_core import Component, Files, Finding, FormatError, Severity, TensorRef, UnsafeContentError, printable
from ckpt_fsdp.deepspeed.fields import Fields, broken
from ckpt_fsdp.deepspeed.names import RankFile, Tag
from ckpt_fsdp.deepspeed.rank_files import ModelStates, read_model_states
from ckpt_fsdp.deepspeed.training_state import training_components
from ckpt_fsdp.deepspeed.zero.tables import Row, in_file, table_of

if TYPE_CHECKING:
    from ckpt_core.codecs import TorchFile

_EXPERT = re.compile(r"(?:layer_(\d{1,6})_)?expert_(\d{1,6})_mp_rank_(\d{2,6})_model_states\.pt")
_OPTIMIZER = re.compile(r"(?:expp_rank_|(?:bf16_|fp16_)?zero_pp_rank_)(\d{1,6})_mp_rank_(\d{2,6})_optim_states\.pt")
_MAIN = RankFile("mp_rank_00_model_states.pt", "model", None, 0, "")
_SHOWN = 64
_COPY = "copy the tag again, the files of all ranks"


@dataclass(slots=True)
class ExpertContent:
    """The content of such a tag.

    Its components, every file that was opened, what is wrong, the step.
    """

    components: list[Component]
    step: int | None
    torches: "list[TorchFile]" = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def is_of_experts(tag: Tag) -> bool:
    """Return True if only experts make a tag special.

    They lie in files of their own.
    """
    return tag.foreign == {"experts"} and not any(file.slice for file in tag.files)


def open_experts(files: Files, folder: str) -> ExpertContent:
    """Open the files of a tag.

    Raises:
        CorruptError: ZE003 or ZE014, the file of what all ranks share is missing or broken.
        UnsafeContentError: A file would run code.
    """
    if _path(folder, _MAIN.name) not in files.entries:
        raise broken(_path(folder, _MAIN.name), "it is missing, and has the weights that are no expert's")
    model = read_model_states(files, folder, _MAIN)
    content = ExpertContent([], model.values.number("global_steps"), [model.torch])
    there = _numbered(files, folder, _EXPERT)
    optimizers = _numbered(files, folder, _OPTIMIZER)
    content.findings += [*_missing_experts(folder, model, list(there)), *_missing_ranks(folder, model, optimizers)]
    rows = {name: in_file(model.torch.tensors, ref.name) for name, ref in _refs(model.module)}
    for path in there.values():
        rows |= _expert_rows(files, path, content)
    content.components.append(Component("model", table_of(rows)))
    for (_, rank), path in optimizers.items():
        _add_optimizer(files, path, str(rank), content)
    content.components += training_components(model, None, folder.rpartition("/")[2], 0)
    if optimizers:
        content.findings.append(_kept_apart(list(optimizers.values())))
    return content


def _numbered(files: Files, folder: str, pattern: re.Pattern[str]) -> dict[tuple[int, int], str]:
    """Return the files that match, by their numbers.

    They are those of layer and expert, or of the rank.
    """
    by_numbers = {}
    for path in files.entries:
        above, _, name = path.rpartition("/")
        match = pattern.fullmatch(name) if above == folder else None
        if match is not None:
            numbers = [int(number or 0) for number in match.groups()[:-1]]
            by_numbers[(numbers[0] if len(numbers) > 1 else 0, numbers[-1])] = path
    return dict(sorted(by_numbers.items()))


def _refs(module: Mapping[str, object]) -> Iterator[tuple[str, TensorRef]]:
    return ((name, value) for name, value in module.items() if isinstance(value, TensorRef))


def _expert_rows(files: Files, path: str, content: ExpertContent) -> dict[str, Row]:
    file = _read(files, path, content)
    if file is None:
        return {}
    return {name: in_file(file.tensors, ref.name) for name, ref in _refs(Fields(file.root, path).values)}


def _read(files: Files, path: str, content: ExpertContent) -> "TorchFile | None":
    from ckpt_core.codecs import read_torch_file

    try:
        file = read_torch_file(files, path)
    except UnsafeContentError:
        raise
    except FormatError as error:
        content.findings.append(Finding.of_error(error))
        return None
    content.torches.append(file)
    return file


def _add_optimizer(files: Files, path: str, rank: str, content: ExpertContent) -> None:
    file = _read(files, path, content)
    if file is not None:
        content.components.append(Component("optimizer", file.tensors, file.root, rank))


def _missing_experts(folder: str, model: ModelStates, there: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Yield PT009 for each expert without a file.

    The tag, or else the numbers in names, tell how many layers and experts there are.
    """
    counts = model.values.values.get("num_experts")
    said = [number for number in counts if type(number) is int] if isinstance(counts, list) else []
    layers = max([len(said), *(layer + 1 for layer, _ in there)])
    most = max((expert + 1 for _, expert in there), default=0)
    gone = [
        (layer, expert)
        for layer in range(min(layers, 1 << 12))
        for expert in range(min(said[layer] if layer < len(said) else most, 1 << 12))
        if (layer, expert) not in there
    ]
    more = f", and so are {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
    for layer, expert in gone[:_SHOWN]:
        path = _path(folder, f"layer_{layer}_expert_{expert}_mp_rank_00_model_states.pt")
        message = f"{printable(path)}: the file of expert {expert} of layer {layer} is missing{more}"
        yield Finding("PT009", Severity.ERROR, message, path, hint=_COPY, component="model")


def _missing_ranks(folder: str, model: ModelStates, there: Mapping[tuple[int, int], str]) -> Iterator[Finding]:
    """Yield PT009 for ranks without their optimizer part.

    Every rank has one with ZeRO.
    """
    if not there:
        return
    example = next(iter(there.values())).rpartition("/")[2]
    zero = "zero_pp" in example
    world = (model.values.number("dp_world_size") or 1) if zero else 1
    for rank in range(min(max(world, max(there)[1] + 1), 1 << 16)):
        if (0, rank) not in there:
            name = re.sub(r"(?<=_rank_)\d+(?=_mp)", str(rank), example)
            message = f"{printable(_path(folder, name))}: this rank's part of the optimizer is missing"
            yield Finding("PT009", Severity.ERROR, message, hint=_COPY, component=f"optimizer:{rank}")


def _kept_apart(paths: Sequence[str]) -> Finding:
    message = (
        f"{printable(paths[0])}: the optimizer's state of a mixture of experts is in {len(paths)} files, cut among the "
        "ranks: each is kept as it is; the weights are those that the module ran with"
    )
    return Finding("PT010", Severity.INFO, message, paths[0], hint="to train on, use as many ranks")


def _path(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name

"""Checks that the files of a tag are of one step.

It compares what each optimizer counts, the model_states, and the directory's name.
"""

import struct
from collections.abc import Iterator

from ckpt_core import Files, Finding, Severity, State, TensorRef, printable
from ckpt_fsdp.deepspeed.names import step_of
from ckpt_fsdp.deepspeed.rank_files import OptimStates
from ckpt_fsdp.deepspeed.tag_content import TagContent

_UNPACK = {"F64": "<d", "F32": "<f", "I64": "<q", "I32": "<i"}


def check_steps(files: Files, content: TagContent, name: str) -> Iterator[Finding]:
    """Yield ZE008 and ZE009 for differing steps.

    ZE008 where ranks, or the model and everything else, are of different steps; ZE009 where only names differ.

    Args:
        files: The listing.
        content: Its files, opened. A step kept as a tensor is read: four bytes a group.
        name: The name of the tag directory.
    """
    counted = {rank: _steps(files, optim) for rank, optim in content.optims.items()}
    known = {rank: steps for rank, steps in counted.items() if steps}
    if len({tuple(steps) for steps in known.values()}) > 1:
        said = ", ".join(f"rank {rank} {steps[0]:g}" for rank, steps in sorted(known.items()))
        path = content.path(content.optims[min(known)].file.name)
        message = f"{printable(path)}: its optimizer and those of other ranks count different steps: {said}"
        yield Finding("ZE008", Severity.ERROR, message, path, hint="files of two saves are mixed; copy one save anew")
        return
    yield from _check_model(content, name, next((steps[0] for steps in known.values()), None))


def _check_model(content: TagContent, name: str, counted: float | None) -> Iterator[Finding]:
    model, tag = content.model.values.number("global_steps"), step_of(name)
    path = content.path(content.model.file.name)
    if model is None:
        return
    skipped = content.model.values.number("skipped_steps") or 0
    if tag is not None and tag != model:
        others = counted is not None and counted != model - skipped and counted <= tag
        severity, code = (Severity.ERROR, "ZE008") if others else (Severity.WARNING, "ZE009")
        rest = f", and the optimizer counts {counted:g}" if others else ""
        message = f"{printable(path)}: it is of step {model}, in a directory called {printable(name)}{rest}"
        yield Finding(code, severity, message, path, hint="see whether files of two saves are mixed")
    elif counted is not None and counted != model - skipped:
        message = f"{printable(path)}: it is of step {model} ({skipped} skipped), and the optimizer counts {counted:g}"
        hint = "as it should be where the optimizer began anew in between; else files of two saves are mixed"
        yield Finding("ZE009", Severity.WARNING, message, path, hint=hint)


def _steps(files: Files, optim: OptimStates) -> list[float]:
    steps = []
    for state in optim.states:
        value = _value(files, optim, state.get("step"))
        if value is not None:
            steps.append(value)
    groups = optim.param_groups or []
    counted = [step for step in (group.get("step") for group in groups) if isinstance(step, int | float)]
    return sorted(set(steps or map(float, counted)))


def _value(files: Files, optim: OptimStates, value: State) -> float | None:
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, TensorRef):
        return None
    info = optim.torch.tensors.info(value.name)
    if info.numel != 1 or info.path is None or info.dtype.code not in _UNPACK:
        return None
    optim.torch.confirm()
    return float(struct.unpack(_UNPACK[info.dtype.code], files.read(info.path, info.offset, info.nbytes))[0])

"""Reads the format `minillm-resume`, minimind's `…_resume.pth`.

Its trainers go on from this one torch file. `model` is in half precision since December 2025 and in full before; the
optimizer's moments are always in full. Both are read as they are. `step` counts the batches of the epoch that are done,
on each rank.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ckpt_core import (
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Manifest,
    Presence,
    Role,
    Severity,
    State,
    StoredCheckpoint,
    TensorTable,
    UnsupportedFormatError,
    UsageError,
    argument,
    printable,
)
from ckpt_core.codecs import read_torch_file
from ckpt_core.layouts import components_of
from ckpt_minillm.model_shape import Facts, facts_of
from ckpt_minillm.name_checks import name_findings, refuse_contradictions
from ckpt_minillm.naming import parse_name
from ckpt_minillm.resume.keys import KINDS, PROGRESS, component_of

_ORDER = (*KINDS, "progress")


def read_resume(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the components of a resume file.

    The option `world_size` converts the step to so many ranks.

    Raises:
        UsageError: A hint contradicts the tensors, or `world_size` is not positive.
        CkptError: The file is not one that torch.save wrote, is cut short, or asks to run code.
    """
    path = next(iter(files.entries))
    name = parse_name(path)
    if name is None or not name.resume:
        raise UnsupportedFormatError(
            f"{printable(path)}: not named as minimind names what it resumes from; use {argument('format', 'torch')}"
        )
    file = read_torch_file(files, path)
    components = tuple(sorted(_components(components_of(file.root, file.tensors)), key=_place))
    by_label = {component.label: component for component in components}
    facts = facts_of(by_label["model"].tensors) if "model" in by_label else Facts()
    refuse_contradictions(path, facts, request.hints)
    findings = [*file.findings, *name_findings(path, name, facts), *_missing(path, by_label)]
    wanted = request.options.get("world_size")
    if wanted is not None:
        components, note = _of_ranks(components, wanted)
        findings += [Finding("MM006", Severity.INFO, f"{path}: {note}", path)] if note else []
    metadata = {**file.metadata, "stage": name.stage, **facts.as_metadata()}
    roles = tuple(_roles(by_label))
    manifest = Manifest(components, metadata=metadata, findings=tuple(findings), roles=roles)
    checkpoint = StoredCheckpoint(files, match, manifest, confirm=file.confirm)
    checkpoint.checksums = file.checksums
    return checkpoint


def _roles(components: dict[str, Component]) -> Iterator[Role]:
    """Yield roles of components that a trainer makes again.

    They are the order of the data and, where it saves a scaler and no scheduler, the rate.
    """
    if "progress" not in components:
        return
    yield Role("sampler", Presence.DERIVED, note="made again from epoch and step")
    if "scaler" in components and "scheduler" not in components:
        yield Role("scheduler", Presence.DERIVED, note="the rate is computed from the step")


def converted_step(step: int, saved: int, wanted: int) -> int:
    """Return a step of `saved` ranks for `wanted` ranks.

    minimind's rule is as many samples, rounded down.
    """
    return step * saved // wanted


def _components(components: Iterable[Component]) -> Iterator[Component]:
    """Yield components under the names that their keys give.

    Those without tensors are among them.
    """
    for component in components:
        known = component_of(component.name) if component.name else None
        if known is not None:
            yield replace(component, kind=known[0], name=known[1])
        elif component.label == "progress" and isinstance(component.state, dict):
            yield from _apart(component, component.state)
        else:
            yield component


def _apart(progress: Component, state: dict[object, State]) -> Iterator[Component]:
    """Yield components that lie beside the step.

    The scheduler of a critic, or a state of that kind, has no tensors.
    """
    kinds = {key: component_of(key) for key, value in state.items() if isinstance(key, str) and isinstance(value, dict)}
    for key, known in kinds.items():
        if known is not None:
            yield Component(known[0], TensorTable.of({}), state[key], known[1])
    rest = {key: value for key, value in state.items() if kinds.get(str(key)) is None}
    if rest:
        yield replace(progress, state=rest)


def _place(component: Component) -> tuple[int, str]:
    return _ORDER.index(component.kind) if component.kind in _ORDER else len(_ORDER), component.name


def _missing(path: str, components: dict[str, Component]) -> Iterator[Finding]:
    progress = components["progress"].state if "progress" in components else None
    keys = progress if isinstance(progress, dict) else {}
    lacking = [label for label in ("model", "optimizer") if label not in components]
    lacking += [key for key in PROGRESS[:2] if key not in keys]
    if lacking:
        message = f"{path}: named as what a trainer goes on from, and has no {', '.join(lacking)}"
        hint = "rename it without _resume if it holds weights alone; a training cannot go on from it"
        yield Finding("MM005", Severity.ERROR, message, path, hint=hint)


def _of_ranks(components: tuple[Component, ...], wanted: int) -> tuple[tuple[Component, ...], str]:
    """Return the components with another number of ranks' step.

    The text says what was changed; it is "" for nothing.
    """
    if wanted < 1:
        raise UsageError(f"world_size {wanted}: not a positive number of ranks")
    for index, component in enumerate(components):
        if component.label != "progress" or not isinstance(component.state, dict):
            continue
        step, saved = component.state.get("step"), component.state.get("world_size")
        if type(step) is not int or type(saved) is not int or saved < 1 or saved == wanted:
            break
        new = converted_step(step, saved, wanted)
        state = {**component.state, "step": new, "world_size": wanted}
        changed = (*components[:index], replace(component, state=state), *components[index + 1 :])
        return changed, f"step {step} of world size {saved} is step {new} of world size {wanted}"
    return components, ""

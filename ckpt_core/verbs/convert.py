"""Convert: write a checkpoint in another format, streamed and proved.

Any checkpoint that can be read, in any format that can be written; each tensor is certified.

A conversion that is stopped goes on where it was when it is run again: finished tensors are in the stage's journal.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Unpack

from ckpt_core.arguments import argument
from ckpt_core.codecs.pickle.verdicts.extraction import extracting
from ckpt_core.errors import CorruptError, UnsafeContentError, UsageError
from ckpt_core.manager.options import readable_options
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.reading.base_model.fit import Fit
from ckpt_core.reading.casting.rules import Uncast
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.reading.coverage import check_component
from ckpt_core.reading.damage import note_damage
from ckpt_core.reading.selection import ViewCheckpoint, select
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.causes import ALL, EXTRACTED
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.formats import Format
from ckpt_core.schema.kinds import WEIGHTS
from ckpt_core.schema.text import printable
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing.overlap import refuse_overlap
from ckpt_core.verbs.already_done import done_already
from ckpt_core.verbs.base_model import components_of, lay_onto, models_in
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.conversion_request import BaseModel, Plain, RunOptions, Selection, gathered
from ckpt_core.verbs.forecast import LEFT_OUT, Forecast, draw_plan, forecast, limited, part_of
from ckpt_core.verbs.load import Checks, find, open_checkpoint
from ckpt_core.verbs.reference import Destination, Reference, names_of, query_of, writable_of
from ckpt_core.verbs.save import SaveReport, format_of_path, save


@dataclass(frozen=True, slots=True)
class Conversion:
    """The outcome of a conversion, done or forecast.

    With `dry_run` it was not done: `report` is None then.

    Attributes:
        source: What was converted.
        forecast: What was to be read and written.
        report: What was written.
        assets_left: Files that the format has no place for.
        base: The base model.
        fits: How each component fitted the base's.
        uncast: What kept its type although a rule of `dtypes` has its name: what is no plain weight.
        already_done: Whether `report` is of what was there: the outcome of the same source and plan, byte for byte.
        notes: What was chosen where nothing was asked: what the format does not hold, an average that is not there.
    """

    source: str
    forecast: Forecast
    report: SaveReport | None = None
    assets_left: tuple[str, ...] = field(default=())
    base: str | None = None
    fits: tuple[Fit, ...] = ()
    uncast: tuple[Uncast, ...] = ()
    already_done: bool = False
    notes: tuple[str, ...] = ()


@checked()
def convert(
    source: Reference,
    destination: Destination,
    *,
    to: str | None = None,
    selection: Selection | None = None,
    base: Reference | BaseModel | None = None,
    run: RunOptions | None = None,
    format: str | None = None,
    hints: Mapping[str, object] | None = None,
    options: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    manager: CkptPluginManager | None = None,
    **plain: Unpack[Plain],
) -> Conversion:
    """Convert a checkpoint.

    Args:
        source: A ref, as for `load`, or an open checkpoint.
        destination: A path, or a URL of a store; it is written whole or not at all.
        to: Name of the format; None to take it from the destination's suffix.
        selection: What of it is converted, under which names and types; None for all, as it is.
        base: The model that it was trained from: a ref, or a `BaseModel` that says how it is held against it.
        run: How it runs: what may be replaced, accepted, and taken of memory.
        format: Take the source for this format.
        hints: As for `load`.
        options: Options of the source's format and of the target's; each goes to the one that has it, or to both. Where
            the source is open, they are the target's.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        manager: The plugin manager; None for the process's own.
        plain: The attributes of `Selection`, `BaseModel` and `RunOptions` by themselves, where the object is not
            given: `convert(source, "out.safetensors", components="model", dtypes="bf16", force=True)`.

    Raises:
        UsageError: An argument is not what it may be, or does not go with another.
        OverwriteError: The destination exists and is not proved to be the outcome of this very work; or it is the
            source or the base, lies in one or holds one.
        LockedError: Another process is writing there.
        BaseMismatchError: The checkpoint is not of the base's structure.
        CorruptError: The source has holes, its bytes do not match a checksum or seal, or what was written is not what
            was read.
        UnsupportedFormatError: The format cannot hold this.
        BudgetError: The disk is full, or `max_memory` is too little.
        CkptError: As for `load` and `save`.
    """
    manager = manager or get_plugin_manager()
    query_of(source, name="source")
    place = writable_of(destination)
    chosen, onto, how = gathered(selection, base, run, plain)
    name = to or format_of_path(place)
    if how.extract:
        source = _extracted(source, name, hints, format, manager)
    checks = Checks(accept=how.accept_damage)
    opened, reading, writing = _opened(source, hints, format, manager, name, options or {}, checks)
    against = None if onto is None else _base(onto, manager, checks)
    _refuse_overlap(place, opened, against)
    inputs = [opened] if against is None else [opened, against]
    with one_moment(*inputs, failures_only=True), limited(how.max_memory):
        opened.confirm()
        labels, notes = _chosen(opened, chosen.labels, onto, manager.format(name))
        _refuse_holes(opened, labels)
        view, fits = _view(opened, labels, chosen, against, () if onto is None else names_of(onto.optional))
        plan = draw_plan(manager, view, place, name, writing)
        with limited(how.max_memory, part=part_of(plan, place)):
            expected = forecast(opened, view, plan, place)
            if how.dry_run:
                return Conversion(
                    str(opened.location), expected, base=_place(against), fits=fits, uncast=view.uncast, notes=notes
                )
            known = (
                None if how.force else done_already(place, plan, view, format=name, manager=manager, ranks=how.ranks)
            )
            report = known or save(
                view,
                place,
                format=name,
                options=writing,
                force=how.force,
                resume=True,
                provenance=_provenance(opened, reading, against, view.uncast),
                progress=how.progress,
                ranks=how.ranks,
                manager=manager,
            )
    kept = {file.path for file in plan.files}
    kept |= {role.where for role in opened.manifest.roles if role.label in expected.left_out}
    left = tuple(asset.path for asset in view.manifest.assets if asset.path not in kept)
    return Conversion(
        str(opened.location), expected, report, left, _place(against), fits, view.uncast, known is not None, notes
    )


def _chosen(
    opened: StoredCheckpoint,
    components: Sequence[str],
    onto: BaseModel | None,
    format: Format,
) -> tuple[Sequence[str], tuple[str, ...]]:
    """Return the labels to convert, and a note where nobody chose them.

    No label stands for all.
    """
    if onto is not None:
        chosen = onto.models or models_in(opened)
        note = f"{opened.location}: has no ema; the model alone was converted"
        return components_of(opened, chosen), (note,) if onto.models is None and chosen == "main" else ()
    there = [component.label for component in opened.manifest.components]
    held = [label for label in there if label in (format.holds or there)]
    left = [label for label in there if label not in held]
    if components or not left or not set(WEIGHTS).intersection(held):
        return components, ()
    return held, (f"{format.name} holds {', '.join(format.holds or ())}; left out: {', '.join(map(printable, left))}",)


def _extracted(
    source: Reference,
    to: str,
    hints: Mapping[str, object] | None,
    format: str | None,
    manager: CkptPluginManager,
) -> StoredCheckpoint:
    """Return the source with its model's tensors alone, tainted.

    UsageError where it is no ref, or where the format to write is not safetensors.
    """
    if to != "safetensors":
        raise UsageError(
            f"{argument('extract')}: writes safetensors only, which runs nothing when loaded; {to} may not hold it"
        )
    if isinstance(source, Checkpoint):
        raise UsageError(f"{argument('extract')}: takes a path, not a checkpoint that was opened")
    with extracting():
        opened = find(source, hints=hints, format=format, manager=manager).open({})
    held = [component for component in opened.manifest.components if len(component.tensors)]
    kept = [component for component in held if component.kind == "model"] or held
    if not kept:
        raise UnsafeContentError(f"{opened.location}: nothing in it but what is behind dangerous calls", code="PK003")
    bare = tuple(replace(component, state=None) for component in kept)
    opened.manifest = replace(opened.manifest, components=bare, assets=(), tainted={ALL: EXTRACTED})
    return opened


def _opened(
    source: Reference,
    hints: Mapping[str, object] | None,
    format: str | None,
    manager: CkptPluginManager,
    to: str,
    options: Mapping[str, Any],
    checks: Checks,
) -> tuple[StoredCheckpoint, Mapping[str, Any], Mapping[str, Any]]:
    """Return the source, its own options, and those for the target."""
    if isinstance(source, StoredCheckpoint):
        return source, {}, options
    place = find(source, hints=hints, format=format, manager=manager, checks=checks)
    has = readable_options(manager, place.files, place.match) if place.match else set()
    takes = {option.name for option in manager.format(to).options if option.writes}
    reading = {name: value for name, value in options.items() if name in has}
    writing = {name: value for name, value in options.items() if name in takes or name not in has}
    opened = place.open(reading)
    if checks.accept:
        note_damage(opened)
    return opened, reading, writing


def _base(onto: BaseModel, manager: CkptPluginManager, checks: Checks) -> StoredCheckpoint:
    """The base, open."""
    query_of(onto.ref, name="base")
    if isinstance(onto.ref, StoredCheckpoint):
        return onto.ref
    return open_checkpoint(onto.ref, manager=manager, checks=checks)


def _view(
    opened: StoredCheckpoint,
    labels: Sequence[str],
    chosen: Selection,
    base: StoredCheckpoint | None,
    optional: Sequence[str],
) -> tuple[ViewCheckpoint, tuple[Fit, ...]]:
    """Return the view to write, and how it fits the base.

    Casts come last: they are by the names that are written.
    """
    include, exclude = names_of(chosen.include), names_of(chosen.exclude)
    pairs, casts = chosen.renamed, chosen.casts
    if base is None:
        return select(opened, components=labels, include=include, exclude=exclude, rename=pairs, dtypes=casts), ()
    named = select(opened, components=labels, include=include, exclude=exclude, rename=pairs)
    laid, fits = lay_onto(named, base, optional=optional)
    _refuse_holes(base, [one.base for one in fits], findings=False)
    return select(laid, dtypes=casts), tuple(fits)


def _provenance(
    opened: StoredCheckpoint, reading: Mapping[str, Any], base: StoredCheckpoint | None, uncast: Sequence[Uncast]
) -> dict[str, Any]:
    """Return the seal's record of the source.

    It is enough to open the source again as it was opened here.
    """
    record: dict[str, Any] = {"source": str(opened.location), "source_format": opened.match.format}
    if reading:
        record["source_options"] = {name: str(value) for name, value in reading.items()}
    if base is not None:
        record |= {"base": str(base.location), "base_format": base.match.format}
    if uncast:
        record["uncast"] = [asdict(one) for one in uncast]
    left = [finding.message for finding in opened.manifest.findings if finding.code in LEFT_OUT]
    return {**record, "left_out": left} if left else record


def _refuse_holes(checkpoint: StoredCheckpoint, labels: Sequence[str], *, findings: bool = True) -> None:
    """Refuse a source with holes, before anything is planned.

    A hole would become somebody's weights.

    Of several errors the first that names a tensor is raised.

    Args:
        checkpoint: What is read.
        labels: The components that are; none for all.
        findings: Whether what its reader found counts too: of a base it does not, only its own tensors are needed.
    """
    problems = [found for found in checkpoint.manifest.findings if _concerns(found, labels)] if findings else []
    for component in checkpoint.manifest.components:
        if not labels or component.label in labels:
            problems += check_component(checkpoint.files, component)
    for finding in sorted(problems, key=lambda finding: finding.tensor is None):
        if finding.severity is Severity.ERROR:
            raise CorruptError(finding.message, code=finding.code, path=finding.path, tensor=finding.tensor)


def _concerns(finding: Finding, labels: Sequence[str]) -> bool:
    """Return True if a finding concerns one of the components.

    So does a finding that is about no component alone.
    """
    return not labels or finding.component is None or finding.component in labels


def _refuse_overlap(destination: str, opened: StoredCheckpoint, base: StoredCheckpoint | None) -> None:
    inputs = _places(opened, "its own source") | (_places(base, "the base model") if base is not None else {})
    refuse_overlap(destination, inputs)


def _places(checkpoint: StoredCheckpoint, what: str) -> dict[str, str]:
    """Return the places that a checkpoint's bytes lie at.

    They are its own place, and on a disk the targets of its files that are links.
    """
    root = checkpoint.location.url
    if local_path(root) is None:
        return {root: what}
    local = [checkpoint.files.local_path(path) or root for path in checkpoint.files.entries]
    return dict.fromkeys([root, *(path for path in local if not path.startswith(os.path.join(root, "")))], what)


def _place(base: StoredCheckpoint | None) -> str | None:
    return None if base is None else str(base.location)

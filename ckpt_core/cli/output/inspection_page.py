"""Shows the contents of a checkpoint, as text and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckpt_core.cli.output.answer import Block, Table
from ckpt_core.cli.output.inspection import Contents, Name
from ckpt_core.cli.output.plain_state import entries_of, in_words
from ckpt_core.cli.output.training_lines import record_lines
from ckpt_core.cli.text import counted, finding_lines, human_bytes, shown_place
from ckpt_core.schema.text import printable
from ckpt_core.verbs.inspect import Totals, tensor_row

if TYPE_CHECKING:
    from ckpt_core.reading.statistics import Statistics
    from ckpt_core.schema.formats import FormatMatch
    from ckpt_core.schema.manifests import Component, Manifest

_FEW = 8
"""Assets, metadata and findings shown before the rest is only counted."""

_STATISTICS = ("min", "max", "mean", "nan", "inf", "zeros")


def page(contents: Contents, *, in_full: bool = False) -> Iterator[Block]:
    """Yield all that was asked for, and the rest in brief.

    The rest lies beside the tensors; notes come `in_full`, or in a line each.
    """
    yield from _headline(contents)
    yield from _tables(contents)
    checkpoint = contents.inspection.checkpoint
    if checkpoint is not None:
        if contents.inspection.place.files.generation:
            yield (
                f"replaced in its store: its files are in {shown_place(contents.inspection.place.files.generation)}, "
                "where other programs do not look; ckpt copy writes them under their plain names"
            )
        if contents.record is not None:
            yield from record_lines(contents.record)
        yield from _beside(checkpoint.manifest, in_full)
        if contents.members:
            yield f"also here: {_some([printable(member.root) for member in contents.members])}; see REF#NAME"


def brief(contents: Contents) -> Iterator[Block]:
    """Yield the brief form of `--quiet`.

    It has the tensors where they are listed, else the members, else the totals.
    """
    if contents.names is not None:
        yield _tensors(contents, contents.names)
        return
    if contents.inspection.checkpoint is None:
        yield from (printable(member.root, 4000) for member in contents.members)
        return
    yield from _tables(contents)


def result(contents: Contents) -> dict[str, Any]:
    """The `result` of the JSON object; sizes are in bytes."""
    place, checkpoint = contents.inspection.place, contents.inspection.checkpoint
    answer: dict[str, Any] = {
        "kind": "container" if checkpoint is None else "checkpoint",
        "location": shown_place(place.files.location.url),
        "members": [_member(member) for member in contents.members],
    }
    if checkpoint is None:
        return answer
    manifest = checkpoint.manifest
    answer |= {
        "format": checkpoint.match.format,
        "evidence": checkpoint.match.evidence,
        "step": checkpoint.match.step if contents.record is None else contents.record.step,
        "training": None if contents.record is None else contents.record.as_dict(),
        "components": [_component(contents, label) for label in contents.totals],
        "total": _sum(contents.totals.values()).as_dict(),
        "assets": [{"path": asset.path, "bytes": asset.size} for asset in manifest.assets],
        "metadata": manifest.metadata,
        "provenance": manifest.provenance,
        "generation": place.files.generation or None,
    }
    if contents.names is not None:
        answer["tensors"] = [_entry(contents, name) for name in contents.names]
    return answer


def _headline(contents: Contents) -> Iterator[Block]:
    place = contents.inspection.place
    where = shown_place(place.files.location.url)
    match = place.match
    if match is None:
        yield f"{where}: {counted(len(contents.members), 'checkpoint')}"
        return
    step = contents.record.step if contents.record is not None else match.step
    yield f"{where}: {printable(match.format)}{'' if step is None else f', step {step}'}"


def _tables(contents: Contents) -> Iterator[Block]:
    if contents.inspection.checkpoint is None:
        rows = [_member_cells(member) for member in contents.members]
        yield Table(("checkpoint", "format", "step", "evidence"), rows, frozenset({"step"}))
        return
    yield _totals(contents)
    if contents.names is not None:
        yield _tensors(contents, contents.names)


def _totals(contents: Contents) -> Table:
    rows = [_totals_cells(label, totals) for label, totals in contents.totals.items()]
    if len(rows) > 1:
        rows.append(_totals_cells("total", _sum(contents.totals.values())))
    headers = ["component", "dtype", "tensors", "parameters", "bytes"]
    if any(not totals.tensors for totals in contents.totals.values()):
        headers.append("state")
        for row, label in zip(rows, [*contents.totals, ""], strict=False):
            row.append(_state_cell(contents, label))
    if contents.fingerprints:
        headers.append("fingerprint")
        for row, label in zip(rows, [*contents.totals, ""], strict=False):
            row.append(contents.fingerprints[label].digest if label else "")
    return Table(headers, rows, frozenset({"tensors", "parameters", "bytes"}))


def _totals_cells(label: str, totals: Totals) -> list[str]:
    dtypes = sorted(totals.by_dtype.items(), key=lambda item: -item[1])
    shown = dtypes[0][0] if len(dtypes) == 1 else " + ".join(f"{code} {count:,}" for code, count in dtypes) or "-"
    if not totals.tensors:
        return [printable(label), "-", "-", "-", "-"]
    tensors = f"{totals.tensors:,}" + (f" ({totals.aliases} tied)" if totals.aliases else "")
    return [printable(label), shown, tensors, f"{totals.parameters:,}", human_bytes(totals.nbytes)]


def _state_cell(contents: Contents, label: str) -> str:
    """Return what a component without tensors holds.

    Nothing is said of the state beside tensors.
    """
    if not label or contents.totals[label].tensors:
        return ""
    return in_words(_of(contents, label).state)


def _of(contents: Contents, label: str) -> "Component":
    checkpoint = contents.inspection.checkpoint
    assert checkpoint is not None
    return checkpoint.manifest.component(label)


def _sum(totals: "Sequence[Totals] | Any") -> Totals:
    whole = Totals()
    for part in totals:
        whole.tensors += part.tensors
        whole.aliases += part.aliases
        whole.parameters += part.parameters
        whole.nbytes += part.nbytes
        for code, count in part.by_dtype.items():
            whole.by_dtype[code] = whole.by_dtype.get(code, 0) + count
    return whole


def _tensors(contents: Contents, names: Sequence[Name]) -> Table:
    several = len(contents.totals) > 1
    headers = ["component"] * several + ["tensor", "dtype", "shape", "bytes"]
    headers += [*_STATISTICS] if contents.statistics else []
    headers += ["fingerprint"] if contents.fingerprints else []
    rows = (_tensor_cells(contents, name, several) for name in names)
    return Table(headers, rows, frozenset({"bytes", *_STATISTICS}))


def _tensor_cells(contents: Contents, name: Name, several: bool) -> list[str]:
    entry = _entry(contents, name)
    shown = printable(name[1]) + (f" = {printable(entry['alias_of'])}" if entry["alias_of"] else "")
    cells = [printable(name[0])] * several
    cells += [shown, entry["dtype"], "x".join(map(str, entry["shape"])) or "scalar", human_bytes(entry["bytes"])]
    if contents.statistics:
        cells += _statistics_cells(contents.statistics[name])
    if contents.fingerprints:
        cells.append(entry["fingerprint"])
    return cells


def _statistics_cells(statistics: "Statistics | None") -> list[str]:
    values: Mapping[str, Any] = {} if statistics is None else statistics.as_dict()
    numbers = [values.get(key) for key in _STATISTICS]
    return ["-" if value is None else f"{value:.4g}" if isinstance(value, float) else f"{value:,}" for value in numbers]


def _entry(contents: Contents, name: Name) -> dict[str, Any]:
    label, tensor = name
    info = _of(contents, label).tensors.info(tensor)
    entry = {"component": label} | tensor_row(tensor, info) | {"name": tensor}
    if contents.statistics:
        statistics = contents.statistics[name]
        entry["statistics"] = None if statistics is None else statistics.as_dict()
    if contents.fingerprints:
        entry["fingerprint"] = contents.fingerprints[label].tensors[tensor]
    return entry


def _component(contents: Contents, label: str) -> dict[str, Any]:
    entry = {"component": label} | contents.totals[label].as_dict()
    if not contents.totals[label].tensors:
        entry["state"] = entries_of(_of(contents, label).state)
    if contents.fingerprints:
        entry["fingerprint"] = contents.fingerprints[label].digest
    return entry


def _member(match: "FormatMatch") -> dict[str, Any]:
    return {
        "root": match.root,
        "format": match.format,
        "step": match.step,
        "evidence": match.evidence,
        "problem": match.problem,
    }


def _member_cells(match: "FormatMatch") -> tuple[str, ...]:
    step = "" if match.step is None else str(match.step)
    return printable(match.root), printable(match.format), step, printable(match.problem or match.evidence)


def _beside(manifest: "Manifest", in_full: bool) -> Iterator[Block]:
    if manifest.assets:
        size = human_bytes(sum(asset.size for asset in manifest.assets))
        names = _some([printable(asset.path) for asset in manifest.assets])
        yield f"{counted(len(manifest.assets), 'asset')}, {size}: {names}"
    said = {key: value for key, value in manifest.metadata.items() if isinstance(value, str | int | float)}
    if said:
        yield "metadata: " + _some([f"{printable(key, 60)}={printable(str(value), 60)}" for key, value in said.items()])
    for finding in manifest.findings[:_FEW]:
        yield from finding_lines(finding, in_full=in_full)
    if len(manifest.findings) > _FEW:
        yield f"and {counted(len(manifest.findings) - _FEW, 'finding')} more; see ckpt verify"


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more

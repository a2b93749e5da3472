"""Shows the versions of a store, and its verification."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ckpt_core.cli.output.answer import Answer, Block
from ckpt_core.cli.text import counted, finding_lines, human_bytes, shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.cli.session import Session
    from ckpt_core.storage.versions.record import VersionRecord
    from ckpt_core.verbs.versions.prove import VersionsReport

_FAILED = 4
_SHOWN = 3
_ORIGINS = ("source", "base", "parent")
"""What of a lineage is shown first, by the names that seals have for it."""


def as_result(version: "VersionRecord", aliases: list[str]) -> dict[str, Any]:
    """Return the form of `--json` of a version."""
    return {
        "version": version.name,
        "number": version.number,
        "step": version.step,
        "metrics": dict(version.metrics),
        "tags": list(version.tags),
        "aliases": aliases,
        "format": version.format,
        "size": version.size,
        "new": version.new,
        "tensors": version.tensors,
        "published": moment_of(version),
        "source": version.source,
        "lineage": dict(version.lineage),
        "content": version.content,
    }


def moment_of(version: "VersionRecord") -> str:
    """Return when a version was published, by the store's clock."""
    return datetime.fromtimestamp(version.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def metrics_of(version: "VersionRecord") -> str:
    """Return the first metrics of a version on one line."""
    shown = [f"{printable(name, 40)}={value:.6g}" for name, value in list(version.metrics.items())[:_SHOWN]]
    return " ".join([*shown, "…"] if len(version.metrics) > _SHOWN else shown)


def origin_of(version: "VersionRecord") -> str:
    """Return the origin of a version.

    As its seal says, or where it was published from.
    """
    said = [f"{name} {version.lineage[name]}" for name in _ORIGINS if version.lineage.get(name)]
    return printable("; ".join(said) or version.source, 120)


def verified_store(session: "Session", store: str) -> Answer:
    """Prove a store, and return the answer."""
    from ckpt_core.verbs.versions.prove import verify_versions

    session.ref = shown_place(store)
    with session.progress() as progress:
        report = verify_versions(store, progress=progress)
    verdict = "ok" if report.ok else "damaged"
    code = 0 if report.ok else _FAILED
    return Answer(
        lambda: _result(report, verdict), lambda: _page(report, verdict), lambda: [verdict], report.findings, code
    )


def _result(report: "VersionsReport", verdict: str) -> dict[str, Any]:
    return {
        "store": report.store,
        "verdict": verdict,
        "versions": report.versions,
        "pieces": report.pieces,
        "bytes": report.nbytes,
    }


def _page(report: "VersionsReport", verdict: str) -> Iterator[Block]:
    for finding in report.findings:
        yield from finding_lines(finding)
    read = f"{counted(report.pieces, 'piece')} of {human_bytes(report.nbytes)}"
    yield f"{report.store}: {verdict}; {counted(report.versions, 'version')}, {read} compared with their SHA-256"

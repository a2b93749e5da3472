"""The scorecard of a plugin.

Each rule of the kit is held, broken or not applicable, with the reason.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from ckpt_core.errors import UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.schema.text import printable
from ckpt_core.testing.rules import rule_of
from ckpt_core.testing.self_written import SelfWrittenTests

_WITHOUT_SAMPLE = ("test_claims_nothing_foreign", "test_importing_the_plugin_stays_light")
HELD, BROKEN, NOT_APPLICABLE = "held", "BROKEN", "n/a"


@dataclass(frozen=True, slots=True)
class Line:
    """The outcome of one rule.

    Where the rule is not held, it says why.
    """

    rule: str
    outcome: str
    reason: str = ""
    needs_sample: bool = True


@dataclass(frozen=True, slots=True)
class Scorecard:
    """The lines of one test class, and who wrote its samples."""

    title: str
    lines: tuple[Line, ...] = field(default_factory=tuple)

    def count(self, outcome: str) -> int:
        """Return the number of rules that ended so."""
        return sum(line.outcome == outcome for line in self.lines)


def scorecards(name: str, *, format: str | None = None, saved_as: str | None = None) -> list[Scorecard]:
    """Check an installed plugin by its name.

    A test class is named as `package.module:TestClass`.

    Args:
        name: The name of the entry point, or where the class is.
        format: The one of the plugin's formats to check; None for all.
        saved_as: What a plugin's own samples are called, where names mean something to its formats.

    Raises:
        UsageError: There is no such plugin or class, or the plugin is broken or owns no format.
    """
    if ":" in name:
        case = _test_class(name)
        return [Scorecard(f"{case.format}: samples by {name}", _run(case))]
    manager = get_plugin_manager()
    module = getattr(_plugin(manager, name), "__name__", None)
    made = [_self_written(each, module, saved_as) for each in _formats(manager, name, format)]
    return [Scorecard(f"{case.format}: samples by the plugin itself", _run(case)) for case in made]


def _plugin(manager: CkptPluginManager, name: str) -> Any:
    statuses = {status.name: status for status in manager.status_report()}
    if name not in statuses:
        working = sorted(known for known, status in statuses.items() if not status.problem)
        raise UsageError(f"{printable(name)}: no such plugin; installed are {', '.join(working)}")
    if statuses[name].problem:
        raise UsageError(f"{name}: {statuses[name].problem}")
    return manager.get_plugin(name)


def _formats(manager: CkptPluginManager, name: str, wanted: str | None) -> list[str]:
    owned = [format.name for format in manager.formats() if manager.owner(format.name) == name]
    if not owned:
        raise UsageError(f"{name}: owns no format, and the kit has rules for formats only")
    if wanted is not None and wanted not in owned:
        raise UsageError(f"{name}: owns no format {printable(wanted)}; it has {', '.join(owned)}")
    return owned if wanted is None else [wanted]


def _self_written(format: str, module: str | None, saved_as: str | None) -> type[SelfWrittenTests]:
    given = {"format": format, "plugin_module": module, "saved_as": saved_as, "__module__": __name__}
    return type("TestSelfWritten", (SelfWrittenTests,), given)


def _test_class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{printable(name)}: {error}; give package.module:TestClass") from error
    if not (isinstance(found, type) and hasattr(found, "format")):
        raise UsageError(f"{printable(name)}: no subclass of FormatTests that names its format")
    return found


def _run(case: Any) -> tuple[Line, ...]:
    """Run a class in pytest, in this process, silently."""
    collected = _Lines(case)
    with TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text("[pytest]\n")
        Path(folder, "test_scorecard.py").write_text("")
        options = ["-p", "no:terminal", "-p", "no:cacheprovider", "--import-mode=importlib", f"--basetemp={folder}/tmp"]
        with _pytest_as_it_comes():
            pytest.main([*options, "-c", f"{folder}/pytest.ini", folder], plugins=[collected])
    return tuple(collected.lines.values())


@contextmanager
def _pytest_as_it_comes() -> Iterator[None]:
    """Run pytest without a person's own options and plugins."""
    ours = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Lines:
    """A plugin of pytest that runs one class.

    It puts it into the test module, and notes what becomes of each of its tests.
    """

    def __init__(self, case: Any) -> None:
        self._case = case
        self.lines: dict[str, Line] = {}

    def pytest_pycollect_makemodule(self, module_path: Path, parent: Any) -> Any:
        collector = pytest.Module.from_parent(parent, path=module_path)
        collector.obj.TestPlugin = self._case
        return collector

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        words = rule_of(self._case, name)
        if report.failed:
            self.lines[name] = Line(words, BROKEN, _reason(report))
        elif report.skipped:
            self.lines[name] = Line(words, NOT_APPLICABLE, _skip_reason(report))
        elif report.when == "call":
            self.lines[name] = Line(words, HELD, needs_sample=name not in _WITHOUT_SAMPLE)


def _reason(report: pytest.TestReport) -> str:
    """The first line of what was raised."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return printable((crash.message if crash else str(report.longrepr)).partition("\n")[0], 300)


def _skip_reason(report: pytest.TestReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return printable(str(said).removeprefix("Skipped: "), 300)


def page(cards: Sequence[Scorecard]) -> str:
    """Return the cards as text.

    A line a rule, with its reason under it.
    """
    return "\n\n".join("\n".join(_card(card)) for card in cards)


def _card(card: Scorecard) -> list[str]:
    lines = [card.title]
    for line in card.lines:
        lines.append(f"  {line.outcome:<6}  {line.rule}" + (f"\n          {line.reason}" if line.reason else ""))
    held, broken, other = map(card.count, (HELD, BROKEN, NOT_APPLICABLE))
    return [*lines, f"{held} held, {broken} broken, {other} not applicable"]

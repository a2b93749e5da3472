"""Shows numbers, places and findings as a person reads them.

Whatever comes from a file is escaped here.
"""

from typing import TYPE_CHECKING

from ckpt_core.arguments import in_shell
from ckpt_core.schema.text import human_bytes as human_bytes
from ckpt_core.schema.text import printable, redact

if TYPE_CHECKING:
    from enum import IntEnum

    from ckpt_core.schema.findings import Finding

_LONG = 1 << 16
_LINE = 120
"""Characters of a warning or a note that a person reads at a glance."""


def counted(count: int, noun: str) -> str:
    """`1 tensor`, `20,000 tensors`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shown_place(ref: str) -> str:
    """Return a path in full, or a URL without its secrets."""
    return redact(ref) if "://" in ref else printable(ref, _LONG)


def severity_word(severity: "IntEnum") -> str:
    """`error`, `warning`, `layout`: the name of a grade in lower case."""
    return severity.name.lower()


def _one_line(message: str) -> str:
    if len(message) <= _LINE:
        return message
    return f"{message[:_LINE].rpartition(' ')[0] or message[:_LINE]} … (-v shows it all)"


def finding_lines(finding: "Finding", *, in_full: bool = False) -> list[str]:
    """A finding as `CODE severity  path  message`, and its hint below it.

    The message of what is no error is cut to one line, unless it is wanted in full.
    """
    path = printable(finding.path) if finding.path else "-"
    message = printable(in_shell(finding.message), 2000).removeprefix(f"{path}: ")
    if finding.severity < 2 and not in_full:
        message = _one_line(message)
    lines = [f"{finding.code} {severity_word(finding.severity):<7}  {path}  {message}"]
    if finding.hint:
        lines.append(f"    hint: {printable(in_shell(finding.hint), 2000)}")
    return lines

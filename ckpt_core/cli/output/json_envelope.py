"""Makes the one JSON object that `--json` prints.

It is printed whatever happened; about several refs, an array of such objects.

`{"schema": "ckpt/VERB@1", "ok": …, "exit": …, "ref": …, "result": …, "findings": […]}`, and `"error"` on failure.
"""

import json
from collections.abc import Mapping, Sequence, Set
from math import isfinite
from typing import TYPE_CHECKING, Any

from ckpt_core.arguments import in_shell

if TYPE_CHECKING:
    from ckpt_core.cli.output.answer import Answer
    from ckpt_core.cli.output.failures import Failure
    from ckpt_core.cli.session import Session


def envelope(session: "Session", answer: "Answer | None", failure: "Failure | None") -> str:
    """The object as one line of ASCII, or the array."""
    if answer is not None and answer.each is not None and failure is None:
        return json.dumps(answer.each(), allow_nan=False)
    return json.dumps(contents(session, answer, failure), allow_nan=False)


def contents(session: "Session", answer: "Answer | None", failure: "Failure | None") -> Any:
    """Return the object in JSON's own types.

    `ok` is whether the exit code is 0.
    """
    code = failure.exit_code if failure is not None else answer.final_code if answer is not None else 0
    content: dict[str, Any] = {
        "schema": f"ckpt/{session.verb or 'error'}@1",
        "ok": code == 0,
        "exit": code,
        "ref": session.ref,
        "result": None if answer is None else answer.result(),
        "findings": _findings(answer, failure),
    }
    if failure is not None:
        content["error"] = {"type": failure.kind, "message": failure.message, "hint": failure.hint}
    return as_json(content)


def _findings(answer: "Answer | None", failure: "Failure | None") -> list[dict[str, Any]]:
    findings = [] if answer is None else [finding.as_dict() for finding in answer.findings]
    if failure is not None and failure.finding is not None and failure.finding not in findings:
        findings.append(failure.finding)
    return findings


def as_json(value: Any) -> Any:
    """Return a value in JSON's own types.

    NaN and infinities become the strings `NaN`, `Infinity` and `-Infinity`.
    """
    match value:
        case str():
            return in_shell(value)
        case None | bool() | int():
            return value
        case float():
            return value if isfinite(value) else _not_finite(value)
        case Mapping():
            return {str(key): as_json(item) for key, item in value.items()}
        case Sequence() | Set() if not isinstance(value, bytes | bytearray):
            return [as_json(item) for item in value]
    return str(value)


def _not_finite(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"

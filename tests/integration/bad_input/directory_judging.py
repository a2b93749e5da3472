"""What an answer about a damaged directory must be like, whatever the layout and the damage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.bad_input.directory_cases import ANSWERS, Damaged
from tests.integration.bad_input.judging import answer_of, of_message
from tests.integration.bad_input.running import Results

_LONGEST_OF = {"locate": 1200}
"""Characters of a message that names a place, what it lacks, and the first thing that is wrong with it."""

_NO_SUCH_COMPONENT = 2
_SEE_VERIFY = "run ckpt verify"
"""What a verb that stops at the first thing that is wrong leads to."""

_PROFILES = frozenset(("resume", "locate"))


def complaints(case: Damaged, place: Path, results: dict[str, Results]) -> Iterator[str]:
    """Everything that is wrong with what the operations answered."""
    for operation, result in results.items():
        kind = operation.partition("=")[0]
        for complaint in _of_operation(case, kind, place, result):
            yield f"{case.name} [{kind}]: {complaint}"


def _of_operation(case: Damaged, kind: str, place: Path, result: Results) -> Iterator[str]:
    if result["exit"] is None:
        yield f"ended with {result['raised']}: {result['message']} {result.get('trace', '')}"
        return
    if result["deeds"]:
        yield f"did {result['deeds']}"
    if result["torch"]:
        yield "imported torch"
    if kind == "shown":
        if result["wrong"]:
            yield f"showed {result['wrong']}"
        return
    answer, wrong = answer_of(result, quiet=kind not in ("locate", "convert"))
    yield from wrong
    yield from _of_exit(case, kind, result["exit"], answer)
    if result.get("left"):
        yield f"refused with {result['exit']} and left {result['left']}"
    for message in _messages(answer):
        yield from of_message(message, place, longest=_LONGEST_OF.get(kind, 600))


def _of_exit(case: Damaged, kind: str, code: int, answer: dict[str, Any]) -> Iterator[str]:
    said = list(_messages(answer))
    if case.clean:
        wanted = kind not in _PROFILES or case.layout.resumes
        if wanted == (code != 0):
            yield f"ended with {code}: {said}"
        return
    if code not in ANSWERS | case.exits:
        yield f"ended with {code}: {said}"
    if kind in case.refused_by:
        lacks = kind == "convert" and code == _NO_SUCH_COMPONENT
        if code not in case.exits and not (lacks and not case.about):
            yield f"ended with {code}, not {sorted(case.exits)}: {said}"
        elif _names_it(case, kind) and not any(case.about in line or line == _SEE_VERIFY for line in _lines(answer)):
            yield f"does not mention {case.about!r}: {said}"
        elif not _next_step(answer):
            yield f"names no next step: {said}"
    elif case.noticed and code == 0 and kind in ("layout", "bytes") and not said:
        yield "was called clean"
    if code == 0 and kind in ("layout", "bytes", "resume") and not answer["result"]["checked_tensors"]:
        yield "ended with 0 and checked nothing"


def _names_it(case: Damaged, kind: str) -> bool:
    """Whether the file must be named; a checkpoint that lacks an optimizer anyway lacks that, locate has one line."""
    return bool(case.about) and kind != "locate" and (kind not in _PROFILES or case.layout.resumes)


def _messages(answer: dict[str, Any]) -> Iterator[str]:
    for found in answer.get("findings", ()):
        if found["severity"] != "info":
            yield found["message"]
    if "error" in answer:
        yield answer["error"]["message"]


def _lines(answer: dict[str, Any]) -> Iterator[str]:
    """All that a person may find the name of the damaged file in."""
    yield from _messages(answer)
    yield from (found.get("path") or "" for found in answer.get("findings", ()))
    assessment = (answer.get("result") or {}).get("assessment") or {}
    yield from map(str, assessment.get("components", ()))
    yield _SEE_VERIFY if _SEE_VERIFY in str(answer.get("error")) else ""


def _next_step(answer: dict[str, Any]) -> bool:
    if any(found.get("hint") or ";" in found["message"] for found in answer.get("findings", ())):
        return True
    error = answer.get("error")
    return error is None or bool(error["hint"]) or ";" in error["message"]

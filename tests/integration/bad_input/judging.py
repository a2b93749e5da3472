"""What an answer must be like, whatever the case: the promises that every refusal and every acceptance keeps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.integration.bad_input.cases import Case, FoundBy
from tests.integration.bad_input.running import Results

_LONGEST = 600
_LEVELS = {"inspect": FoundBy.INSPECT, "layout": FoundBy.LAYOUT, "bytes": FoundBy.BYTES, "load": FoundBy.LAYOUT}
_UNREPRESENTABLE = 6
"""A file may be whole and hold what this torch has no type for."""


def complaints(case: Case, path: Path, results: dict[str, Results]) -> Iterator[str]:
    """Everything that is wrong with what the operations answered."""
    for operation, result in results.items():
        for complaint in _of_operation(case, path, operation, result):
            yield f"{case.name} [{operation}]: {complaint}"


def _of_operation(case: Case, path: Path, operation: str, result: Results) -> Iterator[str]:
    if result["exit"] is None:
        yield f"ended with {result['raised']}: {result['message']} {result.get('trace', '')}"
        return
    if result["deeds"]:
        yield f"did {result['deeds']}"
    if result["torch"] and operation != "load":
        yield "imported torch"
    if operation == "load":
        messages = [result["message"]] if result["message"] else []
    else:
        answer, wrong = answer_of(result)
        yield from wrong
        messages = [found["message"] for found in answer.get("findings", ()) if found["severity"] != "info"]
        messages += [answer["error"]["message"]] if "error" in answer else []
    yield from _of_exit(case, operation, result["exit"], messages)
    for message in messages:
        yield from of_message(message, path)


def answer_of(result: Results, *, quiet: bool = True) -> tuple[dict[str, Any], list[str]]:
    """The one JSON object on stdout, and what is wrong with it or, where it should be empty, with stderr."""
    try:
        answer = json.loads(result["out"])
    except ValueError as error:
        return {}, [f"printed {result['out'][:200]!r}, which is not one JSON object ({error})"]
    wrong = []
    if result["err"] and quiet:
        wrong.append(f"said on stderr {result['err'][:300]!r}")
    if answer["exit"] != result["exit"] or answer["ok"] != (result["exit"] == 0):
        wrong.append(f"ended with {result['exit']} and says {answer['exit']}")
    if any(ord(char) < 32 for char in result["out"].rstrip("\n")) or not result["out"].isascii():
        wrong.append("printed characters that a terminal may obey")
    return answer, wrong


def _of_exit(case: Case, operation: str, code: int, messages: list[str]) -> Iterator[str]:
    if case.benign:
        if code and not (operation == "load" and code == _UNREPRESENTABLE):
            yield f"refused with {code}: {messages}"
        return
    must = _LEVELS[operation] >= case.found_by and not (operation == "load" and case.opens)
    if not must and code == 0:
        return
    if code not in case.exits:
        yield f"ended with {code}, not {sorted(case.exits)}: {messages}"
    elif not any(case.says in message for message in messages):
        yield f"does not mention {case.says!r}: {messages}"


def of_message(message: str, path: Path, *, longest: int = _LONGEST) -> Iterator[str]:
    """What is wrong with a message, whatever it is about."""
    if not message.isprintable():
        yield f"a message that is not fit for one line: {message!r}"
    if len(message) > longest:
        yield f"a message of {len(message)} characters: {message[:100]}…"
    if not message.partition(":")[0].strip() or ": " not in message:
        yield f"a message that does not begin with what it is about: {message!r}"

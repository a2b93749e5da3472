"""Checks of an answer against its question.

They go by its head, before a byte of its body is used.

A server that ignores ranges, compresses, or sends its login page must not become weights. One that flips a bit, or puts
other content of the same length and marks in place of an object, cannot be found out here: that takes a digest.
"""

import re
from collections.abc import Mapping
from http.client import HTTPResponse

from ckpt_core.errors import CkptError, NoAnswerError, ReplacedError
from ckpt_core.storage.remote.addresses import ListedObject

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)$")
"""Source: RFC 9110, section 14.4."""

_REPLACED = "another object came than the one that was listed (replaced meanwhile, or an error page); run it again"


def total_of(response: HTTPResponse) -> int | None:
    """Return the size of the whole object.

    The answer may be a part of it. None where the server does not say.
    """
    if response.status == 200:
        return None if _encoded(response) else length_of(response)
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return int(found[3]) if found and found[3] != "*" else None


def length_of(response: HTTPResponse) -> int | None:
    """Return bytes of the body that the head promises.

    None where it does not.
    """
    said = response.headers.get("Content-Length", "")
    return int(said) if said.isascii() and said.isdigit() else None


def marks_of(response: HTTPResponse) -> Mapping[str, str | None]:
    """Return the marks that tell a page's contents apart.

    They tell as much as its server says.
    """
    headers = response.headers
    mark = "ETag" if headers.get("ETag") else "Last-Modified"
    return {mark: headers.get(mark), "Content-Type": headers.get("Content-Type")}


def check_answer(response: HTTPResponse, wanted: ListedObject, start: int, end: int) -> None:
    """Compare an answer with what was asked.

    Its status is 200, 206 or 416.

    Args:
        response: The answer.
        wanted: The object, as it was listed.
        start: First byte that was asked.
        end: The byte behind the last one.

    Raises:
        ReplacedError: It is of another object than the listed one.
        NoAnswerError: It is not what was asked.
    """
    error = _problem(response, wanted, start, end)
    if error is not None:
        raise error


def _problem(response: HTTPResponse, wanted: ListedObject, start: int, end: int) -> CkptError | None:
    total, length = total_of(response), length_of(response)
    if _encoded(response) and not wanted.stored:
        return _wrong(wanted, "the server compresses what it sends; download it first")
    if (wanted.size is not None and total not in (wanted.size, None)) or not _is_marked(response, wanted.marks):
        return ReplacedError(f"{wanted.place}: {_REPLACED}", code="MO001")
    if response.status == 200 and (start, end) != (0, total):
        return _wrong(wanted, "the server sends whole objects, not ranges of them; download it first")
    if response.status == 206:
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if not found or (found[1], found[2]) != (str(start), str(end - 1)):
            return _wrong(wanted, "the server sent another range than was asked; download it first")
    if response.status not in (200, 206) or length not in (None, end - start):
        return _wrong(wanted, f"the server did not send the {end - start} bytes that were asked; try again")
    return None


def _wrong(wanted: ListedObject, problem: str) -> NoAnswerError:
    return NoAnswerError(f"{wanted.place}: {problem}")


def _is_marked(response: HTTPResponse, marks: Mapping[str, str | None]) -> bool:
    return all(_bare(response.headers.get(name)) == _bare(value) for name, value in marks.items())


def _bare(mark: str | None) -> str | None:
    """Return an ETag without its quotes.

    Some stores leave them out of their listings.
    """
    return mark.strip('"') if mark is not None else None


def _encoded(response: HTTPResponse) -> bool:
    return bool(response.headers.get("Content-Encoding", "identity") != "identity")

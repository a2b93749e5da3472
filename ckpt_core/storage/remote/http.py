"""fsspec's HTTP, made to answer with the bytes that were asked for, or with an error.

Every request asks for a range, uncompressed, and the answer's status, range, length and version are compared with what
was asked before its body is read. A server that flips a bit, or that puts other content of the same length, type and
ETag in place of an object, cannot be found out here: that takes a digest.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, ClientTimeout
from fsspec.implementations.http import HTTPFileSystem

from ckpt_core import knobs
from ckpt_core.errors import NoAnswerError, ReplacedError
from ckpt_core.schema.text import redact

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)$")
"""Source: RFC 9110, section 14.4."""


_OTHER = "another object came than the one that was listed (replaced meanwhile, or an error page); run it again"


def http_filesystem() -> "RangedHTTPFileSystem":
    """One whose requests end where nothing comes for a third of `knobs.remote_timeout`: there is time to ask again."""
    silence = knobs.remote_timeout() / 3
    timeout = ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
    return RangedHTTPFileSystem(client_kwargs={"timeout": timeout})


class RangedHTTPFileSystem(HTTPFileSystem):  # type: ignore[misc]
    """`info` and `cat_file` of single objects; nothing is listed, nothing is written, no URL is logged."""

    async def _info(self, url: str, **kwargs: Any) -> dict[str, Any]:
        async with self._get(url, 0, 1) as response:
            return {"name": url, "type": "file", "size": _total(response), "version": _version(response)}

    async def _cat_file(
        self,
        url: str,
        start: int | None = None,
        end: int | None = None,
        *,
        size: int | None = None,
        version: Any = None,
        **kwargs: Any,
    ) -> bytes:
        """Bytes `start` to `end`, None for its own ends. ReplacedError where size or version differs from `info`."""
        start = start or 0
        if end is None:
            found = await self._info(url)
            end, size, version = found["size"] or 0, found["size"], found["version"]
        if start >= end:
            return b""
        async with self._get(url, start, end) as response:
            problem = _mismatch(response, start, end, size, version)
            if problem == _OTHER:
                raise ReplacedError(f"{redact(url)}: {problem}", code="MO001")
            if problem is not None:
                raise NoAnswerError(f"{redact(url)}: {problem}")
            return bytes(await response.content.readexactly(end - start))

    @asynccontextmanager
    async def _get(self, url: str, start: int, end: int) -> AsyncIterator[ClientResponse]:
        session = await self.set_session()
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        async with session.get(self.encode_url(url), headers=headers) as response:
            if response.status in (404, 410):
                raise FileNotFoundError
            if response.status != 416:
                response.raise_for_status()
            yield response


def _total(response: ClientResponse) -> int | None:
    """Size of the whole object, also where the answer is a part of it; None where the server does not say."""
    if response.status == 200:
        return None if _encoded(response) else response.content_length
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return int(found[3]) if found and found[3] != "*" else None


def _version(response: ClientResponse) -> tuple[str | None, ...]:
    headers = response.headers
    return headers.get("ETag") or headers.get("Last-Modified"), headers.get("Content-Type")


def _encoded(response: ClientResponse) -> bool:
    return bool(response.headers.get("Content-Encoding", "identity") != "identity")


def _mismatch(response: ClientResponse, start: int, end: int, size: int | None, version: Any) -> str | None:
    """What is wrong with an answer, told by its head; None where it is what was asked."""
    total = _total(response)
    if _encoded(response):
        return "the server compresses what it sends; download it first"
    if (size is not None and total not in (size, None)) or (version is not None and _version(response) != version):
        return _OTHER
    if response.status == 200 and (start, end) != (0, total):
        return "the server sends whole objects, not ranges of them; download it first"
    if response.status == 206:
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if not found or (found[1], found[2]) != (str(start), str(end - 1)):
            return "the server sent another range than was asked; download it first"
    if response.status not in (200, 206) or response.content_length not in (None, end - start):
        return f"the server did not send the {end - start} bytes that were asked; try again"
    return None

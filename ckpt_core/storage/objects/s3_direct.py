"""Bytes put to S3 straight from the caller's memory.

The client signs a URL, its connection is ours.

The client copies what it sends, hashes it, and gives it to its loop piece by piece. Here a checksum of them is in the
signed URL's headers. Whatever the answer is but success or a refusal that can be told apart, the client asks again.
Source: botocore, `generate_presigned_url`.
"""

import re
from collections.abc import Mapping
from http.client import RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

from ckpt_core import knobs
from ckpt_core.storage.remote.connections import Connection, idle, origin_of
from ckpt_core.storage.remote.retries import SLOWEST, Clock, ask_again
from ckpt_core.storage.remote.signed import is_plain_s3

_SIGNED_FOR = 3600
_HEADERS = {
    "ChecksumCRC32": "x-amz-checksum-crc32",
    "ContentMD5": "Content-MD5",
    "IfNoneMatch": "If-None-Match",
    "IfMatch": "If-Match",
}
"""Parameters that the URL is signed for and that are sent as headers."""

_FOR_THE_CLIENT = frozenset({301, 302, 307, 308, 400, 401, 403, 404})
"""Statuses of another region, of credentials that have expired, and of what the client can tell better."""

_CODE = re.compile(rb"<Code>([A-Za-z0-9]+)</Code>")
_ERROR_BYTES = 64 << 10


class AnswerError(OSError):
    """An answer that is an error, as botocore has them.

    `retries` reads its `response` and `headers`.
    """

    def __init__(self, status: int, code: str, headers: Mapping[str, str]) -> None:
        super().__init__()
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        self.headers = headers


class NotDirectError(Exception):
    """The client is to ask."""


def put(files: Any, method: str, data: memoryview, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a put, as the client would give it.

    Args:
        files: The filesystem of s3fs.
        method: `put_object` or `upload_part`.
        data: What is sent.
        parameters: Those of the method.

    Raises:
        NotDirectError: The client is to ask.
        AnswerError: The store refused.
        OSError: The connection broke, or was silent.
    """
    if not is_plain_s3(files):
        raise NotDirectError
    clock = Clock(knobs.remote_timeout() + len(data) / SLOWEST)
    return ask_again(lambda left: _once(files, method, data, parameters, clock), clock=clock)


def _once(files: Any, method: str, data: memoryview, parameters: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    url = urlsplit(_signed(files, method, parameters))
    headers = {_HEADERS[name]: value for name, value in parameters.items() if name in _HEADERS}
    headers["Content-Length"] = str(len(data))
    origin = origin_of(url, files.session.get_config_variable("ca_bundle"))
    connection = idle.take(origin)
    while True:
        connection = connection or Connection(origin, clock)
        connection.clock = clock
        try:
            response = connection.ask("PUT", f"{url.path}?{url.query}", headers, data)
            body = response.read(_ERROR_BYTES)
            break
        except BaseException as error:
            connection.close()
            if not connection.used or not isinstance(error, ConnectionError | RemoteDisconnected):
                raise
            connection = None
    if response.isclosed() and not response.will_close:
        idle.give(connection)
    else:
        connection.close()
    return _answered(response.status, dict(response.headers), body)


def _answered(status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    named = {name.lower(): value for name, value in headers.items()}
    if status == 200 and "etag" in named:
        told = {"HTTPStatusCode": status, "HTTPHeaders": named}
        return {"ETag": named["etag"], "ChecksumCRC32": named.get("x-amz-checksum-crc32"), "ResponseMetadata": told}
    found = _CODE.search(body)
    code = found[1].decode() if found else ""
    if code != "BadDigest" and (status in _FOR_THE_CLIENT or status < 400):
        raise NotDirectError
    raise AnswerError(status, code, headers)


def _signed(files: Any, method: str, parameters: Mapping[str, Any]) -> str:
    from fsspec.asyn import sync

    async def sign() -> str:
        client = await files.get_s3(parameters["Bucket"])
        return str(await client.generate_presigned_url(method, Params=dict(parameters), ExpiresIn=_SIGNED_FOR))

    return str(sync(files.loop, sign, timeout=knobs.remote_timeout()))

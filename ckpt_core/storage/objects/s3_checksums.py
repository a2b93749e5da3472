"""By what S3 proves that it has the bytes it was sent.

A CRC-32 costs a thirtieth of an MD5, and a store that compares it names it in its answer. Source: Amazon S3 user guide,
"Checking object integrity".
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import md5
from typing import Any

from ckpt_core.storage.crc import crc32
from ckpt_core.storage.objects.store import UploadedPart


def checksum_of(data: bytes | memoryview) -> str:
    """The CRC-32 of bytes, as `x-amz-checksum-crc32` has it."""
    return b64encode(crc32(data).to_bytes(4, "big")).decode()


def md5_of(data: bytes | memoryview) -> str:
    """The MD5 of bytes, as `Content-MD5` has it."""
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()


def is_proved(answer: dict[str, Any], data: bytes | memoryview, checksum: str) -> bool:
    """Return whether an answer tells that the store has these bytes.

    A CRC-32 tells, or an ETag that is their MD5.
    """
    said = answer.get("ChecksumCRC32")
    return said == checksum or answer["ETag"].strip('"') == md5(data, usedforsecurity=False).hexdigest()


def quoted(etag: str) -> str:
    """Return an ETag as HTTP has it.

    Some stores leave the quotation marks out of some answers.
    """
    return etag if etag.endswith('"') else f'"{etag}"'


def etag_of_parts(parts: Sequence[UploadedPart]) -> str | None:
    """Return the ETag of an object made of parts, in order.

    None where theirs are no MD5.
    """
    try:
        joined = b"".join(bytes.fromhex(part.tag.strip('"')) for part in parts)
    except ValueError:
        return None
    return f'"{md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"'

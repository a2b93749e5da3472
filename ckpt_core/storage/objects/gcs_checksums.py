"""The checksums by which Google Cloud Storage proves bytes.

A CRC-32C, or the MD5 where there is none.

Source: Google Cloud Storage, "Data validation and change detection".
"""

from base64 import b64encode
from hashlib import md5
from typing import Any


def checksums_of(data: bytes | memoryview) -> dict[str, str]:
    """The checksum of bytes under its name in an object's description."""
    try:
        from google_crc32c import value
    except ImportError:  # it comes with gcsfs, but for machines that it is not built for
        return {"md5Hash": b64encode(md5(data, usedforsecurity=False).digest()).decode()}
    return {"crc32c": b64encode(value(bytes(data)).to_bytes(4, "big")).decode()}


def is_proved(made: dict[str, Any], told: dict[str, str]) -> bool:
    """Return whether an object has the checksum that was expected."""
    return all(made.get(name) == told[name] for name in ("crc32c", "md5Hash") if name in told)

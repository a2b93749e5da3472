"""Refusals of a store to take what is written.

Other words than for reading, where the next step is another.

Source: Amazon S3, "Error responses"; Google Cloud Storage, "HTTP status and error codes for JSON".
"""

from collections.abc import Iterator

from ckpt_core.errors import BudgetError, CkptError, NoAnswerError, UsageError
from ckpt_core.schema.text import redact
from ckpt_core.storage.remote.failures import as_ckpt_error
from ckpt_core.storage.remote.retries import error_code, said, status_of

_NAMES = {
    "KeyTooLongError": "the name is longer than the 1,024 bytes that a store takes; choose a shorter one",
    "InvalidBucketName": "not a name that a bucket can have; check it",
    "NoSuchUpload": "the upload was given up meanwhile, perhaps by a rule of the bucket; run it again",
}
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "quotaExceeded"})
_LOCKS = ("object lock", "retention", "legal hold", "worm")
"""In the text of a refusal, what keeps an object: there is no code for it."""

_LOCKED = "is kept by a retention lock or a hold of its bucket; write to another place, or ask its owner"
_MAY_NOT = (
    "access denied: these credentials may not write there; ask its owner for the right to put, list and delete "
    "objects, or write to another place"
)


def as_write_error(error: Exception, place: str) -> CkptError:
    """Return a client's error of a write in our words."""
    shown, code = redact(place), error_code(error)
    if isinstance(error, CkptError):
        return error
    if code in ("KeyTooLongError", "InvalidBucketName"):
        return UsageError(f"{shown}: {_NAMES[code]}")
    if code == "NoSuchUpload":
        return NoAnswerError(f"{shown}: {_NAMES[code]}")
    if code in _FULL or status_of(error) == 507:
        return BudgetError(f"{shown}: the store has no room for it, or a quota is used up; free space there")
    if _is_denied(error, code):
        locked = any(word in text for text in _texts(error) for word in _LOCKS)
        return NoAnswerError(f"{shown}: {_LOCKED if locked else _MAY_NOT}")
    return as_ckpt_error(error, place)


def _is_denied(error: Exception, code: str | None) -> bool:
    """Return whether somebody whom the store knows is refused.

    Of gcsfs's errors only the text says so.
    """
    forbidden = type(error) is OSError and str(error).startswith("Forbidden")
    return code == "AccessDenied" or forbidden or (status_of(error) == 403 and code in (None, "", "403"))


def _texts(error: Exception) -> Iterator[str]:
    """Yield what the store said, to look for words in.

    It is never repeated.
    """
    yield str(error).lower()
    yield str(said(error).get("Error", {}).get("Message", "")).lower()

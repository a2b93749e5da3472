"""What goes wrong with a server, in our words: a client's own text may hold tokens, and is never repeated."""

from ckpt_core import knobs
from ckpt_core.errors import CheckpointNotFoundError, CkptError, NoAnswerError, UsageError
from ckpt_core.schema.text import redact
from ckpt_core.storage.remote.retries import status_of


def as_ckpt_error(error: Exception, place: str) -> CkptError:
    """What a filesystem raised, in our words; its own text may hold tokens and is not repeated."""
    shown = redact(place)
    kind = type(error).__name__
    status = status_of(error)
    if isinstance(error, CkptError):
        return error
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return CheckpointNotFoundError(f"{shown}: nothing there; check the name")
    if isinstance(error, PermissionError) or status in (401, 403) or kind == "NoCredentialsError":
        return NoAnswerError(f"{shown}: access denied ({kind}); check the credentials")
    if kind == "ParamValidationError":
        return UsageError(f"{shown}: not a name that its store could have; check the bucket and what follows")
    if isinstance(error, TimeoutError):
        limit = knobs.remote_timeout()
        return NoAnswerError(f"{shown}: no answer within {limit} s; try again, or set CKPT_REMOTE_TIMEOUT")
    detail = f"{kind}, HTTP {status}" if isinstance(status, int) else kind
    return NoAnswerError(f"{shown}: did not answer as it should ({detail}); check the connection and try again")

"""The client's errors, in our words.

Its own text may hold signed URLs, and is never repeated.

The client says AuthenticationError of a server that is down, and CommError of a name that is not there: what an answer
was is told by its status, and that there was one by the error behind the client's.
"""

from collections.abc import Iterator

from ckpt_core import CkptError, NoAnswerError

_DENIED = (401, 403)


class AbsentError(Exception):
    """The server answered, and has nothing of that name."""


def as_ours(error: Exception, place: str, host: str) -> CkptError | AbsentError:
    """The error of ours for one of the client's.

    Args:
        error: What the client raised.
        place: What was asked for.
        host: The server, without a user and password.
    """
    if isinstance(error, CkptError | AbsentError):
        return error
    status = _status(error)
    kinds = {type(one).__name__ for one in _chain(error)}
    if status in _DENIED:
        return NoAnswerError(f"{place}: W&B at {host} refused the API key (HTTP {status}); {_key_step(host)}")
    if status is not None:
        return NoAnswerError(f"{place}: W&B at {host} failed (HTTP {status}); try again in a minute")
    if "AuthenticationError" in kinds and "WandbApiFailedError" not in kinds:
        return NoAnswerError(f"{place}: the API key for {host} is not one; {_key_step(host)}")
    if kinds & {"WandbApiFailedError", "ConnectionError", "Timeout", "ChunkedEncodingError", "TimeoutError"}:
        return NoAnswerError(
            f"{place}: W&B at {host} did not answer as it should; "
            "check the connection and WANDB_BASE_URL, and try again"
        )
    if "ValueError" in kinds:
        return AbsentError()
    kind = type(error).__name__
    return NoAnswerError(f"{place}: the W&B client failed ({kind}); try again, or see its debug.log")


def no_key(place: str, host: str) -> NoAnswerError:
    return NoAnswerError(f"{place}: no API key for W&B at {host}; {_key_step(host)}")


def _key_step(host: str) -> str:
    return f"set WANDB_API_KEY to one of {host}/authorize, or run wandb login"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those it comes from.

    The client says what it comes from in its own way, beside Python's.
    """
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [getattr(one, "exc", None), one.__cause__]


def _status(error: BaseException) -> int | None:
    for one in _chain(error):
        response = getattr(one, "response", None)
        for name in ("http_status", "status_code"):
            status = getattr(response, name, None)
            if isinstance(status, int) and status >= 400:
                return status
    return None

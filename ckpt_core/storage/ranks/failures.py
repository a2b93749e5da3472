"""Failures of ranks, as plain values.

The others raise them from those.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core import errors
from ckpt_core.arguments import marked
from ckpt_core.errors import CkptError


def described(error: BaseException, rank: int) -> dict[str, Any]:
    """Return a rank's error as plain values.

    Its message is led by the rank, unless it is about a rank already.
    """
    if isinstance(error, CkptError):
        kinds = [kind.__name__ for kind in type(error).__mro__]
        about = {
            "code": error.code,
            "path": error.path,
            "tensor": error.tensor,
            "hint": error.hint and marked(error.hint),
        }
        who = "" if error.message.startswith("rank ") else f"rank {rank}: "
        return {"kinds": kinds, "message": f"{who}{marked(error.message)}", **about}
    text = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
    return {"kinds": [], "message": f"rank {rank}: {text}"}


def as_error(described: Mapping[str, Any]) -> CkptError:
    """Return the error in the nearest class of core's."""
    about = dict(described)
    kinds = [getattr(errors, name) for name in about.pop("kinds") if hasattr(errors, name)]
    kind: type[CkptError] = kinds[0] if kinds else CkptError
    return kind(about.pop("message"), **about)

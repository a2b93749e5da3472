"""The arguments of a Checkpointer, checked before the first step."""

from collections.abc import Iterable
from datetime import timedelta

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.log import Logger
from ckpt_core.storage.writing.publishing.aliases import check_aliases
from ckpt_core.training.data.exact_loader import ExactLoader
from ckpt_core.verbs.reference import names_of

_log = Logger(__name__)

_STRANGE = "it cannot be known whether its samples are the same again"


def one_of(name: str, value: str, *known: str) -> str:
    """Return the value of an argument.

    UsageError where it is none of those that are known.
    """
    if value not in known:
        raise UsageError(f"{argument(name)}: {' or '.join(known)} is needed, not {value!r}")
    return value


def aliases_for(upload_to: str | None, aliases: str | Iterable[str]) -> tuple[str, ...]:
    """Return the aliases of a save, each once.

    Raises:
        UsageError: There is no place that it is uploaded to, or that has no such aliases.
    """
    named = tuple(dict.fromkeys(names_of(aliases)))
    if named and upload_to is None:
        raise UsageError(
            f"{argument('aliases')}: this training is uploaded nowhere, and a folder has no aliases; give "
            f"{argument('upload_to')} a place whose versions have some, such as wandb://ENTITY/PROJECT/NAME; "
            "nothing was saved"
        )
    check_aliases(upload_to or "", named)
    return named


def interval(save_every: int | timedelta | None) -> int | timedelta | None:
    """Return the steps or the time between saves.

    UsageError where it is neither.
    """
    if save_every is None or isinstance(save_every, timedelta):
        return save_every
    if type(save_every) is not int or save_every < 1:
        raise UsageError(f"{argument('save_every')}: a number of steps or a timedelta is needed, not {save_every!r}")
    return save_every


def tell_of_a_strange(loader: object, *, refuse: bool) -> None:
    """Refuse a loader of somebody else's, or warn of it.

    That happens before the first step: at a resume it would be too late.
    """
    if loader is None or isinstance(loader, ExactLoader):
        return
    what = f"a {type(loader).__name__} keeps a position of its own: {_STRANGE}"
    if refuse:
        raise UsageError(
            f"{argument('loader')}: {what}; give a training.KeyedLoader or a training.IterableLoader, "
            f"or take it all the same with {argument('inexact', 'warn')}"
        )
    _log.warning("loader: %s", what)

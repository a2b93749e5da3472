"""What a query asks of this plugin: its hints, then the environment, then the defaults of MiniLLM's scripts."""

import os
from dataclasses import dataclass

from ckpt_core import Query, UsageError, printable
from ckpt_minillm.naming import WeightsName, stage_of

HIDDEN_SIZE = 512
LOCAL_DIR = "out"
REMOTE_DIR = "/openbayes/home/out"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder or URL that is searched, and who named it: a hint, a variable, or the default."""

    url: str
    source: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A stage that is looked for, and where.

    Attributes:
        name: The file name that is looked for.
        sized: Whether the hidden size was asked for, and is not the default.
        local: Where this machine's trainers write.
        remote: Where a remote home keeps its files; a mount or a URL.
        prefer_local: Whether the local one comes first.
        remote_only: Whether nothing but the remote one is searched.
    """

    name: WeightsName
    sized: bool
    local: Folder
    remote: Folder
    prefer_local: bool
    remote_only: bool


def asked_stage(query: Query) -> str | None:
    """The stage a query names, by a hint, else as its ref; None for none."""
    word = _text(query, "stage") or query.place
    return stage_of(word) if word else None


def asked(query: Query, stage: str) -> Ask:
    """All that a query asks of a stage.

    Raises:
        UsageError: A hint or a variable has a value that it cannot have.
    """
    size, sized = _hidden_size(query)
    prefer = _text(query, "prefer") or "remote"
    if prefer not in ("remote", "local"):
        raise UsageError(f"prefer={printable(prefer)}: not remote or local")
    remote_only = _switch(query, "remote_only", None)
    if remote_only and prefer == "local":
        raise UsageError("prefer=local and remote_only: contradict each other; give one of them")
    return Ask(
        name=WeightsName(stage, size, _switch(query, "use_moe", "USE_MOE")),
        sized=sized,
        local=_folder(query, "local_dir", "OUT_DIR", LOCAL_DIR),
        remote=_folder(query, "remote_dir", "MINILLM_REMOTE_DIR", REMOTE_DIR),
        prefer_local=prefer == "local",
        remote_only=remote_only,
    )


def asked_path(query: Query) -> str | None:
    """The path that a hint names outright; None for none."""
    return _text(query, "path")


def _folder(query: Query, hint: str, variable: str, default: str) -> Folder:
    given = _text(query, hint)
    if given is not None:
        return Folder(given, f"hint {hint}")
    if query.env.get(variable):
        return Folder(query.env[variable], variable)
    return Folder(default, "the default")


def _hidden_size(query: Query) -> tuple[int, bool]:
    value, label = _value(query, "hidden_size", "MODEL_HIDDEN_SIZE")
    if value is None:
        return HIDDEN_SIZE, False
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) == 0:
        raise UsageError(f"{label}={printable(text)}: not a whole number from 1 to 999999999")
    return int(text), True


def _switch(query: Query, hint: str, variable: str | None) -> bool:
    """A yes or no. `bool("False")` is True, so words are read, and others refused."""
    value, label = _value(query, hint, variable)
    if value is None:
        return False
    match str(value).lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no":
            return False
    raise UsageError(f"{label}={printable(str(value))}: not one of true, false, 1, 0, yes, no")


def _value(query: Query, hint: str, variable: str | None) -> tuple[object, str]:
    """A hint, else a variable that is set and not empty, else None; and what to call it."""
    if query.hints.get(hint) is not None:
        return query.hints[hint], hint
    return (query.env.get(variable) or None if variable else None), variable or hint


def _text(query: Query, hint: str) -> str | None:
    value = query.hints.get(hint)
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise UsageError(f"{hint}={printable(str(value))}: not a name")
    return str(value)

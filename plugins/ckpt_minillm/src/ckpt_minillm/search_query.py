"""Reads a query's hints, then environment, then defaults.

The defaults are those of MiniLLM's scripts.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ckpt_core import Query, UsageError, printable
from ckpt_minillm.naming import WeightsName, stage_of

HIDDEN_SIZE = 512
LOCAL_DIR = "out"
REMOTE_DIR = "/openbayes/home/out"
_DEFAULT = "the default"
PREFERENCES = ("remote", "local", "newest")


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder or URL to search, and who named it.

    A hint, a variable, or the default.
    """

    url: str
    source: str

    @property
    def is_default(self) -> bool:
        return self.source == _DEFAULT


@dataclass(frozen=True, slots=True)
class Ask:
    """A wanted stage, and the places to search.

    Attributes:
        name: The file name that is looked for.
        sized: Whether the hidden size was asked for, and is not the default.
        local: Where this machine's trainers write.
        remote: Where a remote home keeps its files; a mount or a URL.
        prefer: Which of the two comes first, one of `PREFERENCES`.
        remote_only: Whether nothing but the remote one is searched.
        fallbacks: Names of other stages, in the order in which they may stand in.
    """

    name: WeightsName
    sized: bool
    local: Folder
    remote: Folder
    prefer: str
    remote_only: bool
    fallbacks: tuple[WeightsName, ...] = ()


def asked_stage(query: Query) -> str | None:
    """Return the stage a query names; None for none.

    A hint names it, else the ref.
    """
    word = _text(query, "stage") or query.place
    return stage_of(word) if word else None


def asked(query: Query, stage: str) -> Ask:
    """Return all that a query asks of a stage.

    Raises:
        UsageError: A hint or a variable has a value that it cannot have.
    """
    size, sized = _hidden_size(query)
    prefer = _text(query, "prefer") or "remote"
    if prefer not in PREFERENCES:
        raise UsageError(f"prefer={printable(prefer)}: not one of {', '.join(PREFERENCES)}")
    remote_only = _switch(query, "remote_only", None) or False
    if remote_only and prefer != "remote":
        raise UsageError(f"prefer={prefer} and remote_only: contradict each other; give one of them")
    moe, resume = _switch(query, "use_moe", "USE_MOE") or False, _switch(query, "resume", None) or False
    name = WeightsName(stage, size, moe, resume=resume)
    others = dict.fromkeys(word for word in _stages(query) if word != stage)
    return Ask(
        name=name,
        sized=sized,
        local=_folder(query, "local_dir", "OUT_DIR", LOCAL_DIR),
        remote=_folder(query, "remote_dir", "MINILLM_REMOTE_DIR", REMOTE_DIR),
        prefer=prefer,
        remote_only=remote_only,
        fallbacks=tuple(replace(name, stage=other) for other in others),
    )


def asked_path(query: Query) -> str | None:
    """Return the path that a hint names; None for none."""
    return _text(query, "path")


def shape_hints(hints: Mapping[str, object]) -> dict[str, object]:
    """Return the hints that tensors can contradict, typed.

    None for those that were not given.

    Raises:
        UsageError: One has a value that it cannot have.
    """
    query = Query(None, hints, {})
    return {
        "hidden_size": _whole_number(query, "hidden_size", None),
        "num_hidden_layers": _whole_number(query, "num_hidden_layers", None),
        "use_moe": _switch(query, "use_moe", None),
    }


def switch_of(text: str) -> bool:
    """Parse a person's yes or no.

    `bool("False")` is True, so words are read; ValueError for others.
    """
    match text.lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no":
            return False
    raise ValueError(text)


def _folder(query: Query, hint: str, variable: str, default: str) -> Folder:
    given = _text(query, hint)
    if given is not None:
        return Folder(given, f"hint {hint}")
    if query.env.get(variable):
        return Folder(query.env[variable], variable)
    return Folder(default, _DEFAULT)


def _stages(query: Query) -> Iterable[str]:
    """Return the stages that may stand in.

    They are given as words, or as one text with commas.
    """
    value = query.hints.get("fallback_stages")
    if value is None:
        return ()
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise UsageError(f"fallback_stages={printable(str(value))}: not names of stages; give them as a,b,c")
    return [stage_of(word.strip()) for word in words]


def _hidden_size(query: Query) -> tuple[int, bool]:
    number = _whole_number(query, "hidden_size", "MODEL_HIDDEN_SIZE")
    return (HIDDEN_SIZE, False) if number is None else (number, True)


def _whole_number(query: Query, hint: str, variable: str | None) -> int | None:
    value, label = _value(query, hint, variable)
    if value is None:
        return None
    text = str(value)
    if isinstance(value, bool) or not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) == 0:
        raise UsageError(f"{label}={printable(text)}: not a whole number from 1 to 999999999")
    return int(text)


def _switch(query: Query, hint: str, variable: str | None) -> bool | None:
    value, label = _value(query, hint, variable)
    if value is None:
        return None
    try:
        return switch_of(str(value))
    except ValueError:
        raise UsageError(f"{label}={printable(str(value))}: not one of true, false, 1, 0, yes, no") from None


def _value(query: Query, hint: str, variable: str | None) -> tuple[object, str]:
    """Return the value of a hint, and its name.

    A hint, else a variable that is set and not empty, else None.
    """
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

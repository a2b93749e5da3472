"""Proposes the places where a stage's file may be.

They are the path given, the environment, the remote folder, the local one.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ckpt_core import Candidate, LocationKind, Priority, Query, UsageError, printable
from ckpt_minillm.naming import WeightsName, looks_like_stage, name_of, parse_name
from ckpt_minillm.search_query import Ask, Folder, asked, asked_path, asked_stage

PRETRAINED_PATH = "MINILLM_PRETRAINED_PATH"


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two folders, and its priority.

    `what` is what to call it.
    """

    what: str
    folder: Folder
    priority: Priority


def candidates(query: Query) -> Iterator[Candidate]:
    """Yield the places of a stage in order of priority.

    One that was set and leads nowhere is required: it ends the search. A ref that is not a bare word is a path or a
    URL: core proposes it, and nothing may stand in for it.

    Raises:
        UsageError: A hint or a variable has a value that it cannot have, or hints contradict each other; or the newest
            was asked for, and a file that is there does not record its step.
    """
    if query.place and not looks_like_stage(query.place):
        if asked_path(query) is not None:
            raise UsageError(f"path={printable(str(query.hints['path']))}: the ref is a path too; give one of them")
        return
    _refuse_misspelt(query)
    path, stage = asked_path(query), asked_stage(query)
    ask = asked(query, stage) if stage is not None else None
    if ask is not None and not _is_meant(query, ask):
        ask = None
    if path is not None:
        yield Candidate(path, Priority.EXPLICIT, "hint path", required=True, warning=_mismatch(path, ask))
    pretrained = query.env.get(PRETRAINED_PATH)
    alone = ask is None and path is None
    if pretrained and (alone or (ask is not None and not ask.remote_only)):
        warning = _mismatch(pretrained, ask)
        yield Candidate(pretrained, Priority.ENVIRONMENT, PRETRAINED_PATH, required=True, warning=warning)
    if ask is not None:
        yield from _of_stage(ask, decided=path is not None or bool(pretrained))


def _is_meant(query: Query, ask: Ask) -> bool:
    """Return True if a word means a stage.

    A hint or a variable says so, it is a known name, or has a file in a folder here. Any other word is a file that is
    not there, and is not to be answered with places where nobody put anything.
    """
    from ckpt_minillm.hints import HINTS

    hinted = any(hint.name in query.hints for hint in HINTS)
    folders = (ask.local, ask.remote)
    return hinted or ask.name.known or any(not f.is_default or _has_stage(f.url, ask.name.stage) for f in folders)


def _has_stage(folder: str, stage: str) -> bool:
    try:
        names = map(parse_name, os.listdir(folder))
    except OSError:
        return False
    return any(name is not None and name.stage == stage for name in names)


def _refuse_misspelt(query: Query) -> None:
    """Raise UsageError for a misspelt hint.

    It is nearly one of ours: passed over, `hiden_size=768` would look for 512.
    """
    from ckpt_minillm.hints import HINTS

    known = [hint.name for hint in HINTS]
    for name in query.hints:
        if name not in known:
            from difflib import get_close_matches

            for meant in get_close_matches(name.replace("-", "_"), known, 1, 0.8):
                raise UsageError(f"hint {printable(name)}: not known; is {meant} meant?")


def _of_stage(ask: Ask, *, decided: bool) -> Iterator[Candidate]:
    """Yield the places of a stage.

    `decided`: a place before them wins or ends the search, so none of them is read.
    """
    if ask.remote_only:
        yield from _remote_only(ask)
        return
    remote = _Side("remote folder", ask.remote, Priority.REMOTE)
    local = _Side("local folder", ask.local, Priority.LOCAL)
    if ask.prefer == "local":
        remote = replace(remote, priority=Priority.FALLBACK)
    own = [_candidate(side, ask.name) for side in (remote, local)]
    if ask.prefer == "newest" and not decided:
        from ckpt_minillm.newest import newest_first

        own = newest_first(own)
    yield from own
    sides = (local, remote) if ask.prefer == "local" else (remote, local)
    for index, name in enumerate(ask.fallbacks):
        for number, side in enumerate(sides, start=1):
            yield _stand_in(side, name, ask, order=2 * index + number)


def _remote_only(ask: Ask) -> Iterator[Candidate]:
    side = _Side("remote folder", ask.remote, Priority.REMOTE)
    candidate = _candidate(side, ask.name)
    yield replace(candidate, reason=f"{candidate.reason}; no other place was asked for", required=not ask.fallbacks)
    for index, name in enumerate(ask.fallbacks, start=1):
        yield _stand_in(side, name, ask, order=index)


def _candidate(side: _Side, name: WeightsName) -> Candidate:
    reason = f"{side.what}, {side.folder.source}"
    return Candidate(joined(side.folder.url, str(name)), side.priority, reason, kind=LocationKind.FILE)


def _stand_in(side: _Side, name: WeightsName, ask: Ask, *, order: int) -> Candidate:
    candidate = _candidate(replace(side, priority=Priority.FALLBACK), name)
    warning = f"is a {name.stage} file, in place of {ask.name.stage}"
    return replace(candidate, reason=f"fallback stage {name.stage}; {candidate.reason}", order=order, warning=warning)


def _mismatch(place: str, ask: Ask | None) -> str:
    """Return how a file's name differs from what is asked.

    The file was set by somebody; "" where its name agrees, or says nothing.
    """
    parsed = parse_name(name_of(place))
    if parsed is None or ask is None:
        return ""
    differences = []
    if parsed.stage not in (ask.name.stage, *(other.stage for other in ask.fallbacks)):
        differences.append(f"is a {parsed.stage} file, asked was {ask.name.stage}")
    if ask.sized and parsed.hidden_size != ask.name.hidden_size:
        differences.append(f"is of hidden size {parsed.hidden_size}, asked was {ask.name.hidden_size}")
    return "; ".join(differences)


def joined(folder: str, name: str) -> str:
    """Join a folder or URL and a name.

    A query stays where URLs of the web have it: at the end.
    """
    if "://" not in folder:
        return os.path.join(folder, name)
    head, mark, query = folder.partition("?") if folder.lower().startswith("http") else (folder, "", "")
    return f"{head.rstrip('/')}/{name}{mark}{query}"

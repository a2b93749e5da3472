"""Where a stage's file is looked for: the path given, the environment, the remote folder, the local one."""

import os
from collections.abc import Iterator

from ckpt_core import Candidate, Query, Rank, UsageError, printable
from ckpt_minillm.asking import Ask, asked, asked_path, asked_stage
from ckpt_minillm.naming import looks_like_stage, name_of, parse_name

PRETRAINED_PATH = "MINILLM_PRETRAINED_PATH"


def candidates(query: Query) -> Iterator[Candidate]:
    """Places in the order of their ranks. One that was set and leads nowhere is required: it ends the search.

    A ref that is not a bare word is a path or a URL: core proposes it, and nothing may stand in for it.

    Raises:
        UsageError: A hint or a variable has a value that it cannot have, or hints contradict each other.
    """
    if query.place and not looks_like_stage(query.place):
        if asked_path(query) is not None:
            raise UsageError(f"path={printable(str(query.hints['path']))}: the ref is a path too; give one of them")
        return
    path, stage = asked_path(query), asked_stage(query)
    ask = asked(query, stage) if stage is not None else None
    if path is not None:
        yield Candidate(path, Rank.EXPLICIT, f"hint path{_mismatch(path, ask)}", required=True)
    if ask is not None:
        yield from _of_stage(query, ask)
    elif path is None and query.env.get(PRETRAINED_PATH):
        yield Candidate(query.env[PRETRAINED_PATH], Rank.ENVIRONMENT, PRETRAINED_PATH, required=True)


def _of_stage(query: Query, ask: Ask) -> Iterator[Candidate]:
    name = str(ask.name)
    remote, local = _join(ask.remote.url, name), _join(ask.local.url, name)
    from_remote = f"remote folder, {ask.remote.source}"
    from_local = f"local folder, {ask.local.source}"
    if ask.remote_only:
        yield Candidate(remote, Rank.REMOTE, f"{from_remote}; no other place was asked for", required=True)
        return
    pretrained = query.env.get(PRETRAINED_PATH)
    if pretrained:
        reason = f"{PRETRAINED_PATH}{_mismatch(pretrained, ask)}"
        yield Candidate(pretrained, Rank.ENVIRONMENT, reason, required=True)
    yield Candidate(remote, Rank.FALLBACK if ask.prefer_local else Rank.REMOTE, from_remote)
    yield Candidate(local, Rank.LOCAL, from_local)


def _mismatch(place: str, ask: Ask | None) -> str:
    """What the name of a file that was set says against what is asked; "" where it agrees, or says nothing."""
    found = parse_name(name_of(place))
    if found is None or ask is None:
        return ""
    differences = []
    if found.stage != ask.name.stage:
        differences.append(f"is a {found.stage} file, asked was {ask.name.stage}")
    if ask.sized and found.hidden_size != ask.name.hidden_size:
        differences.append(f"is of hidden size {found.hidden_size}, asked was {ask.name.hidden_size}")
    return "".join(f"; {difference}" for difference in differences)


def _join(folder: str, name: str) -> str:
    """A name below a folder or URL. A query stays where URLs of the web have it: at the end."""
    if "://" not in folder:
        return os.path.join(folder, name)
    head, mark, query = folder.partition("?") if folder.lower().startswith("http") else (folder, "", "")
    return f"{head.rstrip('/')}/{name}{mark}{query}"

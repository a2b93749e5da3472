"""Compares two folders of checkpoints, name by name."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckpt_core.cli.output.answer import Answer, Block, Table, first_code
from ckpt_core.cli.output.diff_page import result, summary, verdict
from ckpt_core.cli.output.several import Asked, ask_each
from ckpt_core.cli.text import counted, shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.cli.session import Session
    from ckpt_core.verbs.diff import DiffReport

_DIFFERENT = 1


def of_folders(session: "Session", refs: tuple[str, str], how: Mapping[str, Any]) -> Answer | None:
    """Compare the checkpoints that two folders have by one name.

    None where they are not such folders, or share no name.
    """
    from ckpt_core.verbs.diff import diff

    first, second = (_members(ref, how) for ref in refs)
    shared = [root for root in first or () if root in (second or ())]
    if first is None or second is None or not shared:
        return None
    only = [[root for root in mine if root not in theirs] for mine, theirs in ((first, second), (second, first))]

    def compare(root: str) -> "DiffReport":
        with session.progress() as progress:
            return diff(*(f"{ref}#{root}" for ref in refs), **how, options=session.options, progress=progress)

    done = list(ask_each(session, shared, compare))
    session.ref = [shown_place(ref) for ref in refs]
    differ = any(only) or any(one.found is not None and not one.found.identical for one in done)
    codes = [one.failure.exit_code for one in done if one.failure is not None]
    return Answer(
        result=lambda: _result(done, only),
        page=lambda: _page(done, only),
        brief=lambda: ["different" if differ or codes else "identical"],
        exit_code=first_code([*codes, _DIFFERENT if differ else 0]),
    )


def _members(ref: str, how: Mapping[str, Any]) -> list[str] | None:
    from ckpt_core.verbs.load import find

    place = find(ref, hints=how["hints"], format=how["format"])
    return None if place.match is not None else [match.root for match in place.detection.members]


def _result(done: "list[Asked[DiffReport]]", only: list[list[str]]) -> dict[str, Any]:
    return {
        "members": [
            {"member": one.ref}
            | ({"error": one.failure.message} if one.failure else result(one.found) if one.found else {})
            for one in done
        ],
        "members_only_in_a": only[0],
        "members_only_in_b": only[1],
    }


def _page(done: "list[Asked[DiffReport]]", only: list[list[str]]) -> Iterator[Block]:
    rows = [(printable(one.ref), *_cells(one)) for one in done]
    yield Table(("checkpoint", "verdict", "what differs"), rows)
    for side, roots in zip("AB", only, strict=True):
        yield from (f"only in {side}: {printable(root)}" for root in roots)
    alike = sum(one.found is not None and one.found.identical for one in done)
    yield f"in all: {alike:,} of {counted(len(done), 'checkpoint')} identical; ckpt diff A#NAME B#NAME shows one"


def _cells(one: "Asked[DiffReport]") -> tuple[str, str]:
    if one.found is None:
        return "not compared", one.failure.message if one.failure is not None else ""
    return verdict(one.found), "" if one.found.identical else summary(one.found)

"""`ckpt locate`: find the place of a ref, and why no other.

A few hints serve in place of a ref.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import hint_option, profile_options, ref_argument, storage_option
from ckpt_core.cli.output.answer import Answer, Block
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import shown_place

if TYPE_CHECKING:
    from ckpt_core.schema.locations import Location, Resolution


_EXAMPLES = examples(
    "ckpt locate runs/x --for resume -q",
    "ckpt locate full_sft --explain",
    "ckpt locate full_sft --hidden-size 768",
)


@click.command("locate", cls=VerbCommand, epilog=_EXAMPLES)
@ref_argument()
@hint_option
@storage_option
@profile_options
@click.option("--explain", is_flag=True, help="Show every place that was considered, and why it was not taken.")
@common_options
@click.pass_obj
def command(
    session: Session,
    ref: str | None,
    hints: dict[str, str],
    profile: str | None,
    without: tuple[str, ...],
    explain: bool,
) -> Answer:
    """Find the place that a REF or a few hints mean.

    With --for, find the newest whole checkpoint in it.
    """
    if without and profile is None:
        raise click.UsageError("--without goes with --for.")
    from ckpt_core.verbs.locate import locate

    resolution = locate(ref, hints=hints, profile=profile, without=without, explain=explain)
    _say_rejected(resolution)
    if session.verbose and resolution.location is not None:
        _log_debris(resolution.location.url)
    return Answer(
        result=lambda: _result(resolution),
        page=lambda: _page(resolution, explain),
        brief=lambda: _brief(resolution, explain),
        error=None if resolution.found else resolution.error(),
    )


def _log_debris(place: str) -> None:
    from ckpt_core.storage.listing import list_files
    from ckpt_core.verbs.load import log_debris

    log_debris(list_files(place))


def _say_rejected(resolution: "Resolution") -> None:
    """Say what was passed over, also under `--quiet`.

    A shell takes only stdout.
    """
    if resolution.query.profile is None:
        return
    for attempt in resolution.attempts:
        if attempt.outcome.value == "rejected" and (resolution.found or attempt.candidate.priority.value == 0):
            click.echo(f"ckpt: passed over {attempt.candidate}: {attempt.detail}", err=True)
    for note in resolution.notes:
        click.echo(f"ckpt: {note}", err=True)


def _result(resolution: "Resolution") -> dict[str, Any]:
    location = resolution.location
    return {
        "location": None if location is None else _place(location),
        "kind": None if location is None else location.kind.value,
        "member": None if location is None else location.member,
        "attempts": [
            {
                "candidate": shown_place(attempt.candidate.url),
                "priority": attempt.candidate.priority.name.lower(),
                "reason": attempt.candidate.reason,
                "outcome": attempt.outcome.value,
                "detail": attempt.detail,
            }
            for attempt in resolution.attempts
        ],
        "notes": resolution.notes,
        "choices": [
            {"ref": shown_place(c.ref), "newest": shown_place(c.newest), "step": c.step, "lack": c.lack}
            for c in resolution.choices
        ],
    }


def _page(resolution: "Resolution", explain: bool) -> Iterator[Block]:
    if explain:
        yield resolution.explain()
    elif resolution.location is not None:
        reason = next(a.candidate.reason for a in resolution.attempts if a.candidate.url == resolution.location.url)
        yield f"{_place(resolution.location)}  ({resolution.location.kind.value}; {reason})"


def _brief(resolution: "Resolution", explain: bool) -> Iterator[Block]:
    if explain:
        yield resolution.explain()
    elif resolution.location is not None:
        yield _place(resolution.location)


def _place(location: "Location") -> str:
    return shown_place(location.url) + (f"#{location.member}" if location.member else "")

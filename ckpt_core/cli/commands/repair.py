"""`ckpt repair`: tell what can be mended, and mend it.

What cannot comes with the reason. It is mended as a copy or in place.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os.path import isdir
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.arguments import in_shell
from ckpt_core.cli.app import OpeningCommand, examples
from ckpt_core.cli.options import completions
from ckpt_core.cli.options.refs import place_options, profile_options, ref_argument
from ckpt_core.cli.output.answer import Answer, Block, Table, first_code
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, severity_word, shown_place
from ckpt_core.schema.text import printable

if TYPE_CHECKING:
    from ckpt_core.schema.repairs import Irreparable, RepairAction
    from ckpt_core.schema.verification import VerifyReport
    from ckpt_core.verbs.repair_plan import Repair

_LONG = 2000
_TO_DO, _LEFT = 1, 4


_EXAMPLES = examples(
    "ckpt repair out",
    "ckpt repair out --apply --output mended",
    "ckpt repair out --apply --in-place",
    "ckpt repair out --undo",
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The things to do with a plan, by their options' names."""

    apply: bool
    output: str | None
    in_place: bool
    undo: bool
    accept_loss: bool
    accept_damage: bool
    force: bool

    def refuse_mixtures(self) -> None:
        where = (self.output is not None) + self.in_place
        if self.undo and (self.apply or where or self.accept_loss or self.accept_damage or self.force):
            raise click.UsageError("--undo goes alone.")
        if self.apply and where != 1:
            raise click.UsageError("--apply goes with --output DIR or with --in-place, one of the two.")
        if where and not self.apply:
            raise click.UsageError("--output and --in-place go with --apply.")
        if self.force and self.output is None:
            raise click.UsageError("--force goes with --output.")
        if self.accept_damage and self.output is None:
            raise click.UsageError("--accept-damage goes with --output.")


@click.command("repair", cls=OpeningCommand, epilog=_EXAMPLES)
@ref_argument(required=True)
@place_options
@profile_options
@click.option(
    "--depth",
    type=click.Choice(("layout", "bytes", "values")),
    default="layout",
    show_default=True,
    help="How much is read to find what is wrong; see ckpt verify.",
)
@click.option("--apply", is_flag=True, help="Do it; with --output or --in-place.")
@click.option(
    "--output",
    metavar="DIR",
    shell_complete=completions.folders,
    help="Write a repaired copy there, and touch nothing else.",
)
@click.option("--in-place", is_flag=True, help="Change the checkpoint itself; what is replaced is kept for --undo.")
@click.option("--undo", is_flag=True, help="Restore what the last repair in place had replaced, byte for byte.")
@click.option("--accept-loss", is_flag=True, help="Do also what invents or loses something.")
@click.option(
    "--accept-damage",
    is_flag=True,
    help="Write the copy although bytes do not match a checksum or seal; it stays marked as tainted.",
)
@click.option("--force", is_flag=True, help="Replace what is at --output.")
@common_options
@click.pass_obj
def command(
    session: Session,
    /,
    ref: str,
    hints: dict[str, str],
    format: str | None,
    profile: str | None,
    without: tuple[str, ...],
    depth: str,
    **asked: Any,
) -> Answer:
    """Say what can be mended in a checkpoint, and what cannot.

    In a folder it is said of each one. With --apply, one is mended.

    Without --apply nothing is written. Exit code 0: nothing to repair, or repaired; 1: there is something to repair;
    4: something is left that cannot be repaired. A copy of what does not match its checksums is not written.
    """
    wanted = _Wanted(**asked)
    wanted.refuse_mixtures()
    if without and profile is None:
        raise click.UsageError("--without goes with --for.")
    if wanted.undo:
        return _undone(ref)
    from ckpt_core.schema.roles import Profile
    from ckpt_core.schema.verification import Depth
    from ckpt_core.verbs.repair import repair

    def mend(one: str) -> "Repair":
        with session.progress() as progress:
            return repair(
                one,
                output=wanted.output,
                in_place=wanted.in_place,
                accept_loss=wanted.accept_loss,
                accept_damage=wanted.accept_damage,
                force=wanted.force,
                depth=Depth[depth.upper()],
                profile=None if profile is None else Profile(profile),
                without=without,
                hints=hints,
                format=format,
                options=session.options,
                progress=progress,
            )

    members = [] if wanted.apply or not isdir(ref) else _members(ref, format)
    return _of_folder(session, ref, members, mend) if members else _of_one(mend(ref))


def _members(ref: str, format: str | None) -> list[str]:
    """Return a folder's checkpoints as refs.

    There are none where the place is a checkpoint itself.
    """
    from ckpt_core.verbs.load import OWN_CHECKS, find

    place = find(ref, format=format, checks=OWN_CHECKS)
    return [] if place.match is not None else [f"{ref}#{match.root}" for match in place.detection.members]


def _of_folder(session: Session, ref: str, members: list[str], mend: "Callable[[str], Repair]") -> Answer:
    """Answer about each checkpoint of a folder.

    They are only looked at: mending is of one at a time.
    """
    from ckpt_core.cli.output.failures import complain
    from ckpt_core.cli.output.several import ask_each

    done = list(ask_each(session, members, mend))
    session.ref = shown_place(ref)

    def page() -> Iterator[Block]:
        for one in done:
            if one.failure is not None:
                complain(one.failure)
            yield from _page(one.found) if one.found is not None else ()

    return Answer(
        result=lambda: [
            *(_result(one.found) for one in done if one.found),
            *({"location": shown_place(one.ref), "exit": one.failure.exit_code} for one in done if one.failure),
        ],
        page=page,
        brief=lambda: [_verdict(one.found) for one in done if one.found],
        findings=[finding for one in done if one.found for finding in one.found.after.findings],
        exit_code=first_code(
            [one.failure.exit_code for one in done if one.failure]
            + [_exit_code(one.found) for one in done if one.found]
        ),
    )


def _of_one(done: "Repair") -> Answer:
    return Answer(
        result=lambda: _result(done),
        page=lambda: _page(done),
        brief=lambda: [_verdict(done)],
        findings=done.after.findings,
        exit_code=_exit_code(done),
    )


def _undone(ref: str) -> Answer:
    from ckpt_core.verbs.repair import undo_repair

    paths = undo_repair(ref)
    line = f"{shown_place(ref)}: as it was before the repair ({', '.join(map(printable, paths))})"
    return Answer(lambda: {"location": shown_place(ref), "restored": paths}, lambda: [line], lambda: [line])


def _exit_code(done: "Repair") -> int:
    """Return the exit code of a repair, done or planned.

    0 nothing to repair, or repaired; 1 something to do, or withheld; 4 something that cannot be repaired.
    """
    assessment = done.after.assessment
    if not done.after.ok or (assessment is not None and assessment.verdict.value != "COMPLETE"):
        return _LEFT
    return _TO_DO if done.plan.actions and not done.applied else 0


def _result(done: "Repair") -> dict[str, Any]:
    match = done.place.match
    return {
        "location": shown_place(done.place.files.location.url),
        "format": None if match is None else match.format,
        "actions": [_as_dict(action) for action in done.plan.actions],
        "withheld": [_as_dict(action) for action in done.plan.withheld],
        "remaining": [{"code": one.code, "path": one.path, "reason": one.reason} for one in done.remaining],
        "applied": done.applied,
        "interrupted": done.interrupted,
        "before": _worst(done.before),
        "after": _worst(done.after),
        "written": None if done.written is None else shown_place(done.written),
        "tainted": dict(done.tainted),
        "backup": None if done.backup is None else shown_place(done.backup),
    }


def _as_dict(action: "RepairAction") -> dict[str, Any]:
    return {
        "operation": action.operation.value,
        "path": action.path,
        "source": action.source or None,
        "summary": action.summary,
        "lossless": action.lossless,
        "invents": dict(action.invents),
    }


def _page(done: "Repair") -> Iterator[Block]:
    rows = [_row(action, "yes" if action.lossless else "no") for action in done.plan.actions]
    rows += [_row(action, "no: needs --accept-loss") for action in done.plan.withheld]
    if rows:
        yield Table(("repair", "file", "what it does", "lossless"), rows)
    for one in done.remaining:
        yield _left(one, "cannot be repaired" if _exit_code(done) else "was not saved")
    yield _verdict(done)
    yield from _next_step(done)


def _row(action: "RepairAction", lossless: str) -> tuple[str, str, str, str]:
    file = f"{action.source} -> {action.path}" if action.source else action.path
    return action.operation.value, printable(file, 500), printable(action.summary, _LONG), lossless


def _left(one: "Irreparable", word: str) -> str:
    about = " ".join(filter(None, (one.code, printable(one.path) if one.path else "")))
    return f"{word}  {about}{': ' if about else ''}{printable(in_shell(one.reason), _LONG)}"


def _verdict(done: "Repair") -> str:
    place, actions = shown_place(done.place.files.location.url), done.plan.actions
    left = f"; {counted(len(done.remaining), 'thing')} cannot be repaired" if done.remaining else ""
    change = f"verifies as {_worst(done.after)}, was {_worst(done.before)}"
    if done.written is not None:
        return f"{shown_place(done.written)}: a repaired copy, {change}{left}"
    if done.backup is not None:
        return f"{place}: repaired, {change}{left}"
    if actions:
        return f"{place}: {counted(len(actions), 'file')} to mend; then it {change}{left}"
    if not done.plan.withheld and _exit_code(done) == 0:
        return f"{place}: nothing to repair"  # what was never saved is no damage
    nothing = "nothing that can be repaired" if left else "nothing to repair"
    loss = " without --accept-loss" if done.plan.withheld else ""
    return f"{place}: {nothing}{loss}{left}"


def _next_step(done: "Repair") -> Iterator[Block]:
    if done.interrupted:
        yield "an earlier repair in place was stopped: --undo takes it back, and --apply --in-place begins with that"
    if done.backup is not None:
        yield f"{shown_place(done.backup)}: what was replaced; ckpt repair REF --undo brings it back"
    elif done.plan.actions and not done.applied:
        yield "nothing was written; --apply --output DIR makes a repaired copy, --apply --in-place mends it here"


def _worst(report: "VerifyReport") -> str:
    return "ok" if report.worst == 0 else severity_word(report.worst)

"""`ckpt prune`: list checkpoints or versions that no rule keeps.

It tells what they take, and removes them where that is asked for.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import ref_argument, storage_option
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, human_bytes

if TYPE_CHECKING:
    from ckpt_core.training.pruning import Pruned
    from ckpt_core.training.retention import Keep
    from ckpt_core.verbs.versions.prune import PrunedVersions

_TO_DO = 1

_EXAMPLES = examples(
    "ckpt prune runs/a --keep-best val_loss",
    "ckpt prune runs/a --keep-every 1000",
    "ckpt prune runs/a --keep-last 3 --apply",
    "ckpt prune s3://bucket/run --keep-last 3",
    "ckpt prune s3://bucket/versions --keep-last 10",
)


@click.command("prune", cls=VerbCommand, epilog=_EXAMPLES)
@ref_argument("run", required=True)
@click.option("--keep-last", type=int, default=1, show_default=True, help="Keep so many of the newest.")
@click.option("--keep-every", type=int, help="Keep those whose step is a multiple of this.")
@click.option("--keep-best", metavar="METRIC", help="Keep the one with the least of a metric; +METRIC: the greatest.")
@click.option("--keep-seconds", type=float, help="Keep the first, and then each that came so many seconds later.")
@click.option("--thin-every", type=int, help="Keep others at a multiple of this, without their optimizer.")
@click.option("--recoverable", is_flag=True, help="Put the others aside, from where --undelete brings them back.")
@click.option(
    "--undelete", metavar="STEP", type=int, help="Bring back what was put aside, proved; nothing else is done."
)
@click.option("--purge", is_flag=True, help="Remove for good what was put aside; nothing else is done.")
@click.option("--apply", is_flag=True, help="Remove the others, after those that are kept were proved.")
@storage_option
@common_options
@click.pass_obj
def command(
    session: Session,
    /,
    run: str,
    keep_last: int,
    keep_every: int | None,
    keep_best: str | None,
    keep_seconds: float | None,
    thin_every: int | None,
    recoverable: bool,
    undelete: int | None,
    purge: bool,
    apply: bool,
) -> Answer:
    """List the checkpoints of a training RUN that no rule keeps.

    RUN may be a store of versions, too.

    Each checkpoint comes with the bytes that it takes; of versions only that is freed which no other one names.

    Without --apply nothing is removed or put aside. Exit code 0: nothing is to be removed, or it was; 1: something can
    be removed. The newest is always kept, and every version that an alias stands for; what a Checkpointer did not write
    is left alone.
    """
    from ckpt_core.storage.listing import is_version_store
    from ckpt_core.training.pruning import prune
    from ckpt_core.training.retention import Keep

    if is_version_store(run):
        if thin_every is not None or recoverable or undelete is not None or purge:
            raise click.UsageError("of a store of versions: --keep-last, --keep-every, --keep-best or --keep-seconds.")
        return _of_versions(session, run, Keep(keep_last, keep_every, keep_best, keep_seconds), apply)

    if undelete is not None or purge:
        return _of_what_was_put_aside(run, undelete, purge)
    done = prune(run, Keep(keep_last, keep_every, keep_best, keep_seconds, recoverable, thin_every), apply=apply)
    code = _TO_DO if done.nbytes and not apply else 0
    return Answer(lambda: _result(done), lambda: _page(done), lambda: list(done.removed), (), code)


def _of_versions(session: Session, store: str, keep: "Keep", apply: bool) -> Answer:
    """Free the versions of a store that a rule does not keep."""
    from ckpt_core.verbs.versions.prune import prune_versions

    with session.progress() as progress:
        done = prune_versions(store, keep, apply=apply, progress=progress)
    code = _TO_DO if (done.removed or done.nbytes) and not apply else 0
    return Answer(lambda: _result_of_versions(done), lambda: _page_of_versions(done), lambda: done.removed, (), code)


def _result_of_versions(done: "PrunedVersions") -> dict[str, Any]:
    kept, removed = dict(done.kept), list(done.removed)
    return {"store": done.store, "kept": kept, "removed": removed, "bytes": done.nbytes, "applied": done.applied}


def _page_of_versions(done: "PrunedVersions") -> Iterator[Block]:
    gone = "freed" if done.applied else "would be freed"
    rows = [(name, f"kept: {why}") for name, why in done.kept.items()] + [(name, gone) for name in done.removed]
    yield Table(("version", ""), rows)
    amount = f"{human_bytes(done.nbytes)} that nothing names, {counted(len(done.removed), 'version')}"
    if not done.removed and not done.nbytes:
        yield f"{done.store}: nothing to free"
    elif done.applied:
        yield f"{done.store}: freed {amount}; those that are kept were proved"
    else:
        yield f"{done.store}: would free {amount}; --apply does it"


def _of_what_was_put_aside(run: str, step: int | None, everything: bool) -> Answer:
    """Bring one back, or remove all."""
    from ckpt_core.errors import UsageError
    from ckpt_core.training.pruning import purge, undelete

    if step is not None and everything:
        raise UsageError("--undelete and --purge do not go together; give one")
    if step is not None:
        place = undelete(run, step)
        return Answer(lambda: {"undeleted": place}, lambda: iter([f"{place}: is back"]), lambda: [place], (), 0)
    gone = [f"checkpoint-{one}" for one in purge(run)]
    page = f"{run}: {counted(len(gone), 'checkpoint')} removed for good"
    return Answer(lambda: {"purged": gone}, lambda: iter([page]), lambda: gone, (), 0)


def _result(done: "Pruned") -> dict[str, Any]:
    return {**asdict(done), "bytes": done.nbytes}


def _kept(done: "Pruned", name: str) -> str:
    if name not in done.thinned:
        return "kept"
    how = "made" if done.applied else "would be made"
    return f"kept; {how} thinner by {human_bytes(done.thinned[name])}, without its optimizer"


def _page(done: "Pruned") -> Iterator[Block]:
    gone = "removed" if done.applied else "would be removed"
    rows = [(name, human_bytes(size), _kept(done, name)) for name, size in done.kept.items()]
    rows += [(name, human_bytes(size), gone) for name, size in done.removed.items()]
    yield Table(("checkpoint", "size", ""), rows, frozenset({"size"}))
    for name, reason in done.left.items():
        yield f"{name}: left alone: {reason}"
    yield from done.notes
    amount = f"{human_bytes(done.nbytes)} in {counted(len(done.removed) + len(done.thinned), 'checkpoint')}"
    if not done.nbytes:
        yield f"{done.run}: nothing to remove"
    elif done.applied:
        yield f"{done.run}: removed {amount}; those that are kept were proved"
    else:
        yield f"{done.run}: would free {amount}; --apply does it"

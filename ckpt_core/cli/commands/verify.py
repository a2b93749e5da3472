"""`ckpt verify`: tell what is wrong with a checkpoint.

The exit code is one to act on.
"""

from typing import TYPE_CHECKING

import click

from ckpt_core.cli.app import OpeningCommand, examples
from ckpt_core.cli.options import completions
from ckpt_core.cli.options.refs import are_several, place_options, profile_options, refs_argument, require_ref
from ckpt_core.cli.options.sampling import sampling_options
from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.session import Session, common_options

if TYPE_CHECKING:
    from ckpt_core.cli.output.verification import Checked
    from ckpt_core.schema.verification import Sampling

_DEPTHS = ("layout", "bytes", "values")
_FORMS = ("human", "json", "sarif", "junit")
_LIMITS = ("warning", "error")
_EXAMPLES = examples(
    "ckpt verify out/model.pth --depth bytes",
    "ckpt verify runs/x --for resume",
    "ckpt verify 'runs/*/last.ckpt'",
    "ckpt verify runs --report junit > ckpt.xml",
)


@click.command("verify", cls=OpeningCommand, epilog=_EXAMPLES)
@refs_argument()
@place_options
@profile_options
@click.option("--report", type=click.Choice(_FORMS), default="human", show_default=True, help="How to report.")
@click.option(
    "--depth",
    type=click.Choice(_DEPTHS),
    default="layout",
    show_default=True,
    help="Read headers and sizes; or every byte, against the checksums there are; or look for NaN and infinities too.",
)
@sampling_options
@click.option(
    "--fail-on",
    type=click.Choice(_LIMITS),
    default="error",
    show_default=True,
    help="The least finding that makes the exit code other than 0: 4 for an error, 1 for a warning.",
)
@click.option("--certificate", is_flag=True, help="Compare a conversion and its source with the certificate, too.")
@click.option(
    "--source",
    metavar="REF",
    shell_complete=completions.refs,
    help="With --certificate: the source, where it is not where it was.",
)
@click.option(
    "--base",
    metavar="REF",
    shell_complete=completions.refs,
    help="With --certificate: the base model, where it is not where it was.",
)
@common_options
@click.pass_obj
def command(
    session: Session,
    refs: tuple[str, ...],
    hints: dict[str, str],
    format: str | None,
    report: str,
    profile: str | None,
    without: tuple[str, ...],
    depth: str,
    sampling: "Sampling | None",
    fail_on: str,
    certificate: bool,
    source: str | None,
    base: str | None,
) -> Answer:
    """Check each checkpoint for damage, also each one in a folder.

    With --for, check for what it lacks too. Of a store of versions every digest is proved.
    """
    require_ref(refs, hints)
    several = are_several(refs)
    for name, given in (("source", source), ("base", base)):
        if given is not None and (several or not certificate):
            raise click.UsageError(f"--{name} goes with --certificate, and with one REF.")
    if format in _FORMS:
        raise click.UsageError(f"--format is that of the checkpoint; how to report is --report {format}.")
    if without and profile is None:
        raise click.UsageError("--without goes with --for.")
    if sampling is not None and depth == "layout":
        raise click.UsageError("--sample and --time-budget go with --depth bytes or values.")
    session.json = session.json or report == "json"
    from ckpt_core.storage.listing import is_version_store

    if refs and not several and format is None and is_version_store(refs[0]):
        if profile is not None or sampling is not None or certificate or report not in ("human", "json"):
            raise click.UsageError("a store of versions is proved whole; for the rest name a version: STORE@latest.")
        from ckpt_core.cli.output.versions import verified_store

        return verified_store(session, refs[0])
    from ckpt_core.cli.output.verification import check, of_one, of_several
    from ckpt_core.schema.roles import Profile
    from ckpt_core.schema.verification import Depth, VerifyRequest

    purpose = None if profile is None else Profile(profile)
    request = VerifyRequest(Depth[depth.upper()], session.options, purpose, without, sampling)

    def checked(ref: str | None) -> "Checked":
        ends = (source, base) if certificate else None
        return check(session, ref, request, hints=hints, format=format, certificate=ends)

    if not several:
        return of_one(session, checked(refs[0] if refs else None), report, fail_on)
    from ckpt_core.cli.output.several import ask_each

    return of_several(session, list(ask_each(session, refs, checked)), report, fail_on)

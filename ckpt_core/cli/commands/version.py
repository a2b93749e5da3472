"""`ckpt version`: the same as `ckpt --version`."""

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.output.version import the_version
from ckpt_core.cli.session import Session, common_options


@click.command("version", cls=VerbCommand, epilog=examples("ckpt version", "ckpt version -q"))
@common_options
@click.pass_obj
def command(session: Session) -> Answer:
    """Show the version; with -q its number alone."""
    return the_version()

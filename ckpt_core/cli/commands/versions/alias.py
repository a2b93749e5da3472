"""`ckpt alias`: let a name stand for a version."""

import click

from ckpt_core.cli.app import VerbCommand, examples
from ckpt_core.cli.options.refs import storage_option
from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import shown_place


@click.command(
    "alias", cls=VerbCommand, epilog=examples("ckpt alias versions best v3", "ckpt alias versions prod best")
)
@click.argument("store", metavar="STORE")
@click.argument("name", metavar="NAME")
@click.argument("version", metavar="VERSION")
@storage_option
@common_options
@click.pass_obj
def command(session: Session, /, store: str, name: str, version: str) -> Answer:
    """Let NAME stand for a VERSION of STORE.

    VERSION is v3, latest, or another name.

    It is moved in one step, and only from where it was.
    """
    from ckpt_core.verbs.versions.history import set_alias

    session.ref = shown_place(store)
    record = set_alias(store, name, version)
    page = f"{shown_place(store)}@{name}: stands for {record.name}"
    return Answer(lambda: {"alias": name, "version": record.name}, lambda: [page], lambda: [record.name])

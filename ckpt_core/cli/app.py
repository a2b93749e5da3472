"""The commands by name, each imported when it is called, and the options that formats add to them."""

from importlib import import_module

import click

from ckpt_core.cli.options.format_flags import describe_flags, take_format_flags
from ckpt_core.cli.session import Session, common_options

COMMANDS = {
    "locate": "Find the place that a ref or a few hints mean.",
    "inspect": "Show what a checkpoint holds.",
    "verify": "Check a checkpoint for damage.",
    "diff": "Compare two checkpoints.",
    "convert": "Write a checkpoint in another format, proved equal.",
    "seal": "Write digests beside a checkpoint, so that damage shows.",
    "repair": "Show what can be mended in a checkpoint, and mend it.",
    "formats": "List the formats that can be read.",
    "plugins": "List the plugins, and what is wrong with them.",
    "completion": "Print a script that completes commands in a shell.",
}
"""What `ckpt --help` says of each; `ckpt_core.cli.commands.NAME` holds it as `command`."""


class LazyGroup(click.Group):
    """A group that knows its commands by name, and imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ckpt_core.cli.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class VerbCommand(click.Command):
    """A command that notes its name for error messages, takes hints as flags where it has `--hint`, and sets options of
    formats aside where it `opens` a ref."""

    opens = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        session = ctx.find_object(Session)
        if session is not None and not ctx.resilient_parsing:
            session.verb = self.name
            if self.opens or self._searches(ctx):
                args, session.options = take_format_flags(args, self.get_params(ctx), opens=self.opens)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        sections = {
            "Options of formats": describe_flags() if self.opens else [],
            "Hints, each for --hint too": describe_flags(hints=True) if self._searches(ctx) else [],
        }
        for title, flags in sections.items():
            if flags:
                with formatter.section(title):
                    formatter.write_dl(flags)

    def _searches(self, ctx: click.Context) -> bool:
        return any("--hint" in parameter.opts for parameter in self.get_params(ctx))


class OpeningCommand(VerbCommand):
    """A command whose formats' own options are options of its too."""

    opens = True


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from ckpt_core.cli.output.answer import Answer
    from ckpt_core.cli.output.emit import emit
    from ckpt_core.version import __version__

    session = context.find_object(Session) or Session()
    session.verb = "version"
    emit(session, Answer(lambda: {"version": __version__}, lambda: [f"ckpt {__version__}"], lambda: [__version__]))
    context.exit()


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@common_options
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def group(context: click.Context) -> None:
    """Find, look inside, prove and compare model checkpoints.

    A REF is a path, a URL (s3://, https://, hf://, …), a stage name, or REF#member for one checkpoint of several.
    """
    if context.invoked_subcommand is None:
        raise click.UsageError(f"No command given; there are {', '.join(COMMANDS)}.")

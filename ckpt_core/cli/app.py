"""The table of commands, each imported when it is called.

The options that formats add to them are taken here too.
"""

from importlib import import_module
from os.path import exists
from typing import TYPE_CHECKING

import click

from ckpt_core.cli.options.format_flags import flags_by_format, hints_by_format, kebab, take_format_flags
from ckpt_core.cli.session import Session, common_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "locate": "Find the place that a ref or a few hints mean.",
    "inspect": "Show what a checkpoint holds.",
    "verify": "Check a checkpoint for damage.",
    "diff": "Compare two checkpoints.",
    "convert": "Write a checkpoint in another format, proved equal.",
    "copy": "Copy a checkpoint to another place, checked as it moves.",
    "seal": "Write digests beside a checkpoint, so that damage shows.",
    "clean": "Show what stopped writers left at a place, and remove it.",
    "publish": "Make a checkpoint the next version of a store of versions.",
    "log": "List the versions of a store.",
    "alias": "Let a name stand for a version of a store.",
    "bisect": "Find the first version for which a command fails.",
    "prune": "Show which checkpoints of a run, or versions of a store, no rule keeps, and remove them.",
    "plan-resume": "Show what a training would go on from, before it is started.",
    "prove-resume": "Run a training whole and killed, and compare both to the bit.",
    "repair": "Show what can be mended in a checkpoint, and mend it.",
    "formats": "List the formats that can be read.",
    "plugins": "List the plugins, and what is wrong with them.",
    "completion": "Print a script that completes commands in a shell.",
    "version": "Show the version.",
}
"""What `ckpt --help` says of each; `ckpt_core.cli.commands.NAME` holds it as `command`, with `_` for `-`."""

_OF_VERSIONS = ("publish", "log", "alias", "bisect")
"""Those that `ckpt_core.cli.commands.versions` has."""


def examples(*lines: str) -> str:
    """Return the examples that end a command's help.

    Each line stands as it is typed.
    """
    return "\n".join(["Examples:", *(f"  {line}" for line in lines)])


class _WithExamples(click.Command):
    """A command whose help ends with its examples, as they are."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.epilog:
            formatter.write(f"\n{self.epilog}\n")


class LazyGroup(_WithExamples, click.Group):
    """A group that imports the one command that is called.

    It knows all of them by name.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        folder = "versions." if cmd_name in _OF_VERSIONS else ""
        module = import_module(f"ckpt_core.cli.commands.{folder}{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and args[0] not in COMMANDS and args[0][:1] != "-":
            raise click.UsageError(f"No such command {args[0]!r}{_what_is_meant(args[0])}.", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _what_is_meant(word: str) -> str:
    from ckpt_core.schema.text import did_you_mean

    meant = did_you_mean(word, COMMANDS)
    if meant is None and exists(word):
        return f"; to look into that place: ckpt inspect {word}"
    return f"; {meant.rstrip('?')}" if meant else ""


class VerbCommand(_WithExamples):
    """A command that takes the options that formats declare.

    It notes its name for error messages.

    Hints are flags of it where it has `--hint`; options of formats are set aside where it `opens` a ref.
    """

    opens = False
    writes = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        session = ctx.find_object(Session)
        if session is not None and not ctx.resilient_parsing:
            session.verb = self.name
            if self.opens or self._searches(ctx):
                args, session.options = take_format_flags(args, self.get_params(ctx), opens=self.opens)
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        items = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("--"):
            from ckpt_core.cli.options import completions

            by_format = flags_by_format(writes=self.writes) if self.opens else []
            by_format += hints_by_format() if self._searches(ctx) else []
            items += completions.flags(self, [flag for _, shown in by_format for flag in shown.split(", ")], incomplete)
        return items

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        sections = {
            "Options of formats, see ckpt formats NAME": flags_by_format(writes=self.writes) if self.opens else [],
            "Hints, each for --hint too, see ckpt formats NAME": hints_by_format() if self._searches(ctx) else [],
        }
        for title, flags in sections.items():
            if flags:
                with formatter.section(title):
                    _write_flags(formatter, flags)

    def _searches(self, ctx: click.Context) -> bool:
        return any("--hint" in parameter.opts for parameter in self.get_params(ctx))


def _write_flags(formatter: click.HelpFormatter, flags: list[tuple[str, str]]) -> None:
    """As `write_dl`, which breaks lines inside of options, at their hyphens."""
    from textwrap import wrap

    column = formatter.current_indent + max(len(name) for name, _ in flags) + 2
    for name, shown in flags:
        lines = wrap(shown, max(formatter.width - column, 10), break_on_hyphens=False)
        formatter.write(f"{'':{formatter.current_indent}}{name}".ljust(column))
        formatter.write(f"\n{'':{column}}".join(lines) + "\n")


class OpeningCommand(VerbCommand):
    """A command that takes formats' options for reading."""

    opens = True


class WritingCommand(OpeningCommand):
    """A command that takes formats' options for writing besides."""

    writes = True


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    from ckpt_core.cli.output.emit import emit
    from ckpt_core.cli.output.version import the_version

    session = context.find_object(Session) or Session()
    session.verb = "version"
    emit(session, the_version())
    context.exit()


_SETTINGS = {"help_option_names": ["-h", "--help"], "token_normalize_func": kebab}
_FIRST_STEPS = examples(
    "ckpt inspect out/model.pth",
    "ckpt verify runs/x --depth bytes",
    "ckpt locate runs/x --for resume -q",
    "ckpt convert last.ckpt out --to hf",
)


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings=_SETTINGS, epilog=_FIRST_STEPS)
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
        session = context.find_object(Session)
        if session is not None and session.json:
            raise click.UsageError(f"No command given; there are {', '.join(COMMANDS)}.")
        click.echo(context.get_help())
        context.exit()

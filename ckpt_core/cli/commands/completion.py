"""`ckpt completion`: the script that teaches a shell the commands and options."""

import os

import click
from click.shell_completion import get_completion_class

from ckpt_core.cli.app import VerbCommand, examples, group
from ckpt_core.cli.output.answer import Answer
from ckpt_core.cli.session import Session, common_options

_SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = examples(
    'eval "$(ckpt completion bash)"',
    'eval "$(ckpt completion zsh)"',
    "ckpt completion fish | source",
)


@click.command("completion", cls=VerbCommand, epilog=_EXAMPLES)
@click.argument("shell", required=False, type=click.Choice(_SHELLS))
@common_options
@click.pass_obj
def command(session: Session, shell: str | None) -> Answer:
    """Print a script that completes commands in a shell.

    Without a name it is for the shell of $SHELL.

    Put such a line into ~/.bashrc, ~/.zshrc, or fish's config.fish.
    """
    shell = shell or os.path.basename(os.environ.get("SHELL", ""))
    kind = get_completion_class(shell)
    if shell not in _SHELLS or kind is None:
        raise click.UsageError(f"$SHELL is not one of {', '.join(_SHELLS)}; name one of them.")
    script = kind(group, {}, "ckpt", "_CKPT_COMPLETE").source()
    return Answer(result=lambda: {"shell": shell, "script": script}, page=lambda: [script], brief=lambda: [script])

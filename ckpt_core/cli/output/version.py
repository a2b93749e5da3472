"""The version, as `ckpt version` and `ckpt --version` answer it."""

from ckpt_core.cli.output.answer import Answer


def the_version() -> Answer:
    """Return the answer; under `--quiet` the number alone."""
    from ckpt_core.version import __version__

    return Answer(lambda: {"version": __version__}, lambda: [f"ckpt {__version__}"], lambda: [__version__])

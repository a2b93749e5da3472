"""Reads `--storage-option NAME=VALUE`, which makes a store's client.

Secrets are not taken.
"""

import json
import re
from typing import Any

import click

from ckpt_core.storage.remote.options import storage_options

_SECRET = re.compile(r"key|secret|token|passw|credential|signature|sas\b|auth", re.IGNORECASE)
_USERINFO = re.compile(r"://[^/]*@")


def note(context: click.Context, _: click.Parameter, values: tuple[str, ...]) -> None:
    """Give the options to every client of this command, until it ends."""
    if values:
        context.with_resource(storage_options(_parsed(values)))


def _parsed(values: tuple[str, ...]) -> dict[str, Any]:
    """Return the options as a tree.

    `client_kwargs.region_name=x` is one of `client_kwargs`. Values are JSON, or text.
    """
    parsed: dict[str, Any] = {}
    for given in values:
        name, equals, text = given.partition("=")
        if _SECRET.search(name) or _USERINFO.search(text):
            raise click.UsageError(_no_secret(name if equals else "NAME"))
        if not equals or not all(name.split(".")):
            raise click.BadParameter("it is not NAME=VALUE.", param_hint="'--storage-option'")
        *above, last = name.split(".")
        place = parsed
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise click.BadParameter(f"{part} is given twice.", param_hint="'--storage-option'")
        place[last] = _value(text)
    return parsed


def _no_secret(name: str) -> str:
    from ckpt_core.schema.text import printable

    variable = re.sub(r"\W", "_", name).upper()
    return (
        f"--storage-option {printable(name, 60)}: may hold a secret, which every user of this machine could read; "
        f"set it in the environment, as AWS_SECRET_ACCESS_KEY and the like or as FSSPEC_S3_{printable(variable, 60)}."
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text

"""Compares transformers configs with the sharded weights beside them.

The names and shapes of the weights are compared.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import Checkpoint, CkptError, Files, Finding, VerifyRequest
from ckpt_core.layouts import read_json

CONFIG = "config.json"


def check_config(
    files: Files, checkpoint: Checkpoint | None, request: VerifyRequest, path: str = CONFIG, *, within: str = ""
) -> Iterator[Finding]:
    """Yield findings where a config file contradicts the weights.

    Nothing where no purpose is given.

    Args:
        files: The listing.
        checkpoint: What is open of it.
        request: The purpose.
        path: The config's file; nothing is said where it is not there.
        within: What the names of the tensors that it is about begin with.
    """
    if checkpoint is None or request.profile is None or path not in files.entries:
        return
    try:
        config = read_json(files, path)
    except CkptError as error:
        yield Finding.of_error(error)
        return
    yield from hold(config, checkpoint, path, within=within)


def hold(
    config: Mapping[str, Any], checkpoint: Checkpoint, path: str = CONFIG, *, within: str = ""
) -> Iterator[Finding]:
    """Yield findings where a config contradicts the weights."""
    from ckpt_core.laws.config_claims import config_laws

    for component in checkpoint.manifest.components:
        if component.kind in ("model", "ema"):
            yield from config_laws(config, dict(component.tensors.infos()), path, within=within)

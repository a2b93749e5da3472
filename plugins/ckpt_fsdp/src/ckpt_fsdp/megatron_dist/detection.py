"""Recognises folders of Megatron's dist_checkpointing.

Its metadata.json names the backend.
"""

import json
from collections.abc import Iterator
from typing import Any

from ckpt_core import CkptError, Confidence, Files, FormatMatch, LocationKind, printable
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.model_parallel.names import step_of

NAME = "megatron-dist"
METADATA = "metadata.json"
COMMON = "common.pt"
_READ = "torch_dist"


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of dist_checkpointing.

    Its metadata.json names a backend.
    """
    if files.location.kind is LocationKind.FILE:
        return
    for path in files.entries:
        root, _, name = path.rpartition("/")
        backend = _backend(files, path) if name == METADATA else None
        if backend is None:
            continue
        folder = (root or files.location.name).rpartition("/")[2]
        step = step_of(folder)
        step = step_of_name(folder) if step is None else step
        evidence = f"{METADATA} of Megatron's dist_checkpointing, {printable(backend, 40)}"
        problem = None if backend == _READ else _not_read(backend)
        yield FormatMatch(NAME, Confidence.CERTAIN, evidence, root, step, problem=problem)


def _not_read(backend: str) -> str:
    return (
        f"Megatron's backend {printable(backend, 40)} is not read here; load it with Megatron-LM, and save it again "
        f"with --dist-ckpt-format {_READ}"
    )


def _backend(files: Files, path: str) -> str | None:
    try:
        content: Any = json.loads(files.head(path))
    except (ValueError, RecursionError, CkptError):
        return None
    backend = content.get("sharded_backend") if isinstance(content, dict) else None
    return backend if isinstance(backend, str) else None

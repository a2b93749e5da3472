"""Notes of copied checkpoints, in the folder of their run."""

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

from ckpt_core.storage.writing import syscalls
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.training.tiers.aliases import sealed_aliases

_NOTED = ".run.ckpt-uploads"


def state_of(place: str) -> str:
    """Return the state of a checkpoint's folder.

    The time and the number of it, which tell one from another at its place.
    """
    try:
        found = os.stat(place)
    except OSError:
        return ""
    return f"{found.st_ino}-{found.st_mtime_ns}"


def read_noted(folder: str) -> dict[str, dict[int, str]]:
    """Return the state of each checkpoint as it was copied.

    By the URL and the step.
    """
    try:
        with open(os.path.join(folder, _NOTED), encoding="utf-8") as file:
            noted: Mapping[str, Any] = json.load(file)
        return {url: {int(step): str(state) for step, state in steps.items()} for url, steps in noted.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # what is not known to be there is copied again, and found to be there already


def write_noted(folder: str, noted: Mapping[str, Mapping[int, str]]) -> None:
    """Note what was copied."""
    path = os.path.join(folder, _NOTED)
    syscalls.remove(path + "-new")
    syscalls.write_file(path + "-new", json.dumps(noted).encode())
    syscalls.rename(path + "-new", path)


def waiting_aliases(run: RunFolder, steps: Iterable[int], of: str) -> dict[int, tuple[str, ...]]:
    """Return the aliases of a run's checkpoints that wait for upload.

    They are not noted as copied, also where no process is at it.
    """
    done = read_noted(run.path).values()
    found = {}
    for step in steps:
        place = run.place(step)
        if not any(noted.get(step) == state_of(place) for noted in done):
            found[step] = sealed_aliases(place, of)
    return {step: aliases for step, aliases in found.items() if aliases}

"""Finds folders named for a step that hold no checkpoint.

A save was stopped there, and a user looks for its checkpoint.
"""

from collections.abc import Iterator, Sequence

from ckpt_core.layouts.step_names import epoch_of_name, step_of_name
from ckpt_core.manager.trials import Trial
from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import Attempt, Candidate, Outcome, Priority
from ckpt_core.schema.tensors import under
from ckpt_core.schema.text import printable

_EMPTY = "an empty folder: its save was stopped before the first file, or its files were removed"
_SHOWN = 3
"""Files of such a folder that are named."""


def unclaimed(files: Files, trials: Sequence[Trial]) -> Iterator[tuple[int, Attempt]]:
    """Yield each such folder with the step in its name.

    It is no part of a checkpoint; one inside of another is left out. In a place that is itself a checkpoint only empty
    ones are told: what the others are, its format knows.
    """
    claimed = [trial.root for trial in trials if trial.root]
    claimed += [under(trial.root, part.root) for trial in trials for part in trial.match.parts if part.root]
    itself = any(not trial.root for trial in trials)
    for folder in sorted({*files.empty, *(() if itself else _folders(files))}):
        step = _step(folder.rpartition("/")[2])
        if step is not None and not any(_overlap(folder, root) for root in claimed):
            claimed.append(folder)
            candidate = Candidate(
                files.below(folder).location.url, Priority.EXPLICIT, f"a folder named for step {step}"
            )
            yield step, Attempt(candidate, Outcome.REJECTED, _content(files, folder))


def _folders(files: Files) -> Iterator[str]:
    """Yield every folder above a file."""
    for path in (*files.entries, *files.skipped):
        while path := path.rpartition("/")[0]:
            yield path


def _step(name: str) -> int | None:
    if name.startswith((".", "tmp", "temp")):
        return None
    step = step_of_name(name)
    return epoch_of_name(name) if step is None else step


def _overlap(first: str, second: str) -> bool:
    return f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")


def _content(files: Files, folder: str) -> str:
    held = [path.removeprefix(f"{folder}/") for path in files.entries if path.startswith(f"{folder}/")]
    if not held:
        return _EMPTY if folder in files.empty else "nothing in it can be read"
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return f"no checkpoint that is recognised: it holds {printable(', '.join(held[:_SHOWN]))}{more}"

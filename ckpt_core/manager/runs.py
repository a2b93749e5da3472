"""Groups the checkpoints of a place by training run.

Those of one run have one structure and trainer, and lie below one folder.

The folder of a run is what is left of a path without the part that has the step: `runs/a` of `runs/a/checkpoint-100`,
of `runs/a/step_5.pt` and of `runs/a/checkpoints/0900000/pretrained_model`, each with what stands behind the step.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from ckpt_core.layouts.step_names import numbered_part
from ckpt_core.manager.trials import Structure, Trial, is_named

_STRANGE = 0.1
"""Share of the names that two checkpoints of one run may differ in: a tied head is saved by some writers only."""


@dataclass(frozen=True, slots=True)
class Run:
    """The checkpoints of one training, newest first.

    Those without a step come last.
    """

    trials: tuple[Trial, ...]
    folder: str = ""

    def has_besides(self, trial: Trial) -> Mapping[str, str]:
        """Return the components that other checkpoints of the run have.

        Each kind has the newest checkpoint that has it.
        """
        others = [other for other in reversed(self.trials) if other.root != trial.root]
        return {kind: other.root or "." for other in others for kind in other.kinds}


def runs_of(trials: Iterable[Trial]) -> list[Run]:
    """Return the runs among checkpoints of a place, by folder.

    A checkpoint that says too little of itself goes with its neighbours.
    """
    known = sorted((trial for trial in trials if trial.structure), key=lambda trial: trial.root)
    groups = [group for alike in _by_structure(known) for group in _by_trainer(alike)]
    runs = [run for group in groups for run in _by_folder(group)]
    for trial in trials:
        if not trial.structure:
            runs = _joined(runs, trial)
    ordered = [replace(run, trials=tuple(newest_first(run.trials))) for run in runs]
    return sorted(ordered, key=lambda run: (run.folder, run.trials[0].root))


def newest_first(trials: Sequence[Trial]) -> list[Trial]:
    """Return checkpoints of one run, newest first.

    Those without a step come last; of equal ones that whose name says the step is first.
    """
    comparable = _in_one_unit(trials)
    within = _counts_within_epochs(comparable)

    def place(trial: Trial) -> tuple[bool, float, int, bool, str]:
        epoch = (trial.epoch or 0) if within else 0
        return (trial.step is None, -epoch, -(trial.step or 0), numbered_part(trial.root) is None, trial.root)

    return sorted(comparable, key=place)


def same_structure(first: Structure, second: Structure) -> bool:
    """Return True if two checkpoints can be of one training.

    Shapes are equal, and but for a few the same names.
    """
    common = first.keys() & second.keys()
    if any(first[name] != second[name] for name in common):
        return False
    strange = len(first) + len(second) - 2 * len(common)
    return strange <= _STRANGE * max(len(first), len(second))


def naming(run: Run, others: Sequence[Run], place: str) -> str:
    """Return a ref that names one run of a place.

    It means the checkpoints of this run and no others: its folder, else a pattern of names.
    """
    strangers = [trial.root for other in others if other is not run for trial in other.trials]
    own = [trial.root for trial in run.trials]
    if run.folder and _only(own, strangers, lambda root: f"{root}/".startswith(f"{run.folder}/")):
        return f"{place.rstrip('/')}/{run.folder}"
    last = [root.rpartition("/")[2] for root in own]
    for member in (last[0], f"{_prefix(last)}*"):
        if member.strip("*") and _only(own, strangers, partial(is_named, member=member)):
            return f"{place}#{member}"
    return f"{place.rstrip('/')}/{own[0]}" if own[0] else place


def _only(own: Iterable[str], strangers: Iterable[str], holds: Callable[[str], bool]) -> bool:
    return all(map(holds, own)) and not any(map(holds, strangers))


def _prefix(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    size = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:size].rstrip("0123456789")


def _by_structure(trials: Sequence[Trial]) -> list[list[Trial]]:
    groups: list[list[Trial]] = []
    for trial in trials:
        alike = next((group for group in groups if same_structure(group[0].structure, trial.structure)), None)
        if alike is None:
            groups.append([trial])
        else:
            alike.append(trial)
    return groups


def _by_trainer(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Group checkpoints by the program that saved the training.

    Weights alone go with the first group.
    """
    groups: list[list[Trial]] = []
    for trial in sorted(trials, key=lambda trial: not trial.trainer):
        alike = next((group for group in groups if not trial.trainer or _of_one_program(group, trial)), None)
        if alike is None:
            groups.append([trial])
        else:
            alike.append(trial)
    return groups


def _of_one_program(group: Sequence[Trial], trial: Trial) -> bool:
    counters = frozenset(name for other in group for name in other.counters)
    alike = not counters or not trial.counters or bool(counters & trial.counters)
    return alike and group[0].trainer == trial.trainer


def _by_folder(trials: Sequence[Trial]) -> list[Run]:
    """Group checkpoints by the folder that holds their steps.

    One without a number goes with the only folder near it.
    """
    places: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        places.setdefault(_place(trial), []).append(trial)
    numbered = {place for place, held in places.items() if any(_is_numbered(trial) for trial in held)}
    for place in list(places):
        near = [other for other in numbered if other != place and _are_near(other[0], place[0])]
        dated = any(trial.step is not None for trial in places[place])
        if place not in numbered and (len(near) == 1 or (near and not dated)):
            places[near[0]] += places.pop(place)
    dated_places = [place for place, held in places.items() if any(trial.step is not None for trial in held)]
    if len(dated_places) < 2:
        return [Run(tuple(trials), dated_places[0][0] if dated_places else "")]
    rest = [trial for place, held in places.items() if place not in dated_places for trial in held]
    runs = [Run(tuple(places[place]), place[0]) for place in dated_places]
    for trial in rest:
        runs = _joined(runs, trial)
    return runs


def _place(trial: Trial) -> tuple[str, str]:
    """Return the run's folder and the path behind the step."""
    parts = trial.root.split("/")
    numbered = numbered_part(trial.root)
    last = len(parts) - 1
    if numbered is None or (numbered[0] < last and parts[numbered[0]].isdecimal() and numbered[1] != trial.step):
        return "/".join(parts[:-1]), ""
    return "/".join(parts[: numbered[0]]), "/".join(parts[numbered[0] + 1 :])


def _is_numbered(trial: Trial) -> bool:
    return numbered_part(trial.root) is not None


def _are_near(folder: str, other: str) -> bool:
    """Return True if one folder is, or lies in, the other."""
    return not folder or not other or f"{folder}/".startswith(f"{other}/") or f"{other}/".startswith(f"{folder}/")


def _joined(runs: Sequence[Run], trial: Trial) -> list[Run]:
    """Return the runs, with the checkpoint added to the nearest.

    That is the run of its folder, else the first.
    """
    if not runs:
        return [Run((trial,), _place(trial)[0])]
    folder = _place(trial)[0]
    nearest = max(runs, key=lambda run: (run.folder == folder, _are_near(run.folder, folder), len(run.folder)))
    return [replace(run, trials=(*run.trials, trial)) if run is nearest else run for run in runs]


def _in_one_unit(trials: Sequence[Trial]) -> list[Trial]:
    """Return the checkpoints with steps in one unit.

    The unit is epochs where some count epochs alone, if all have them.
    """
    dated = [trial for trial in trials if trial.step is not None]
    if len({trial.of_epochs for trial in dated}) < 2:
        return list(trials)
    if all(trial.of_epochs or trial.epoch is not None for trial in dated):
        return [t if t.step is None or t.of_epochs else replace(t, step=t.epoch, of_epochs=True) for t in trials]
    return [replace(trial, step=None) if trial.of_epochs else trial for trial in trials]


def _counts_within_epochs(trials: Sequence[Trial]) -> bool:
    """Return True if steps start anew with each epoch.

    Somewhere a later epoch has an earlier step.
    """
    pairs = sorted((t.epoch, t.step) for t in trials if t.step is not None and t.epoch is not None)
    if len(pairs) < sum(trial.step is not None for trial in trials):
        return False
    return any(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(pairs))

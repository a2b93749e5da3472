"""Two traces of one training held against each other.

Their first difference is told: in what it is, and in which sample.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]

_FIRST = ("sampler", "rng", "model", "optimizer", "scheduler")
"""In this order one thing makes another differ within a step."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first difference of a killed training.

    It differs from the training that was not killed.

    Attributes:
        step: The step of the optimizer; of what a resume restored wrongly, the step that it went on from.
        component: What differs first: a label such as `sampler`, `rng`, `model`, or `metrics`.
        process: Which one of the training that was killed, from 1.
        detail: In words.
        sample: Which sample differs first, in words; None where it is not the data.
    """

    step: int
    component: str
    process: int
    detail: str
    sample: str | None = None


def first_difference(whole: Iterable[Line], killed: Iterable[Line]) -> Difference | None:
    """Return the first difference of two trainings.

    The lines of a killed one and a whole one are compared; None where they are equal.

    What a resume restores is held against what the same training had when it saved: generators that nobody seeds, and
    nobody draws from, are others in each process that begins.
    """
    known = {line["step"]: line for line in whole if "step" in line}
    process, last, own = 1, 0, dict[int, Line]()
    for line in killed:
        if "killed" in line:
            process += 1
        elif "resumed" in line and line["resumed"] in own:
            parts = own[line["resumed"]]["parts"]
            found = _label({label: parts.get(label) for label in line["parts"]}, line["parts"])
            if found:
                detail = f"{found} is not what it was when step {line['resumed']} was saved"
                return Difference(line["resumed"], found, process, detail)
        elif "step" in line:
            last, own[line["step"]] = line["step"], line
            difference = _of_step(known.get(last), line, process)
            if difference:
                return difference
    if last != max(known):
        return Difference(last, "steps", process, f"it ended at step {last}, and uninterrupted at {max(known)}")
    return None


def _of_step(whole: Line | None, line: Line, process: int) -> Difference | None:
    step = line["step"]
    if whole is None:
        return Difference(step, "steps", process, f"step {step} is not one of the uninterrupted training")
    if whole["inputs"] != line["inputs"]:
        return _of_data(whole["inputs"], line["inputs"], step, process)
    found = _label(_without_rng(whole), _without_rng(line))
    if whole["metrics"] != line["metrics"]:
        name = next(name for name in {**whole["metrics"], **line["metrics"]} if _differs(whole, line, name))
        values = f"{name} is {line['metrics'].get(name)}, and uninterrupted {whole['metrics'].get(name)}"
        drawn = whole["parts"]["rng"] != line["parts"]["rng"]
        more = "; the random generators are in another state behind it" if drawn else ""
        return Difference(step, "rng" if drawn else "metrics", process, f"{values}, of the same data{more}")
    return Difference(step, found, process, f"{found} differs, of the same data") if found else None


def _differs(whole: Line, line: Line, name: str) -> bool:
    return bool(whole["metrics"].get(name) != line["metrics"].get(name))


def _of_data(whole: list[Any], given: list[Any], step: int, process: int) -> Difference:
    for number, (first, second) in enumerate(zip(whole, given, strict=False), 1):
        if first != second:
            sample = _sample(first, second)
            detail = f"batch {number} of step {step} is another one"
            return Difference(step, "sampler", process, detail, sample)
    detail = f"step {step} is of {len(given)} batches, and uninterrupted of {len(whole)}"
    return Difference(step, "sampler", process, detail)


def _sample(whole: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    rows = zip(whole["rows"], given["rows"], strict=False)
    at = next((place for place, (first, second) in enumerate(rows) if first != second), None)
    if at is None:
        return f"{len(given['rows'])} samples, and uninterrupted {len(whole['rows'])}"
    was, now = (one["numbers"][at] if at < len(one["numbers"]) else None for one in (whole, given))
    known = "" if now is None else f", number {now}" if was == now else f", number {now} in place of {was}"
    elsewhere = given["rows"][at] in whole["rows"]
    return f"sample {at + 1} of {len(given['rows'])}{known}" + (", which came in another place" if elsewhere else "")


def _without_rng(line: Line) -> dict[str, str]:
    return {label: digest for label, digest in line["parts"].items() if label != "rng"}


def _label(whole: Mapping[str, str | None], given: Mapping[str, str]) -> str | None:
    differing = [label for label in {**whole, **given} if whole.get(label) != given.get(label)]
    ordered = [label for label in _FIRST if label in differing]
    return next(iter([*ordered, *differing]), None)

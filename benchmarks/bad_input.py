"""Bad input: the corpus of hostile, broken and lookalike files through ckpt and its peers, each file in a process of its own.

A loader is right where it refuses what is malformed with an error that says so, and accepts what is whole. Peers get the
cases of their formats: `safe_open` files named .safetensors, `torch.load(weights_only=True)` files that torch may have
written. Torch reads deflated tensors, which count as right too.
"""

import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.integration.bad_input import legacy_cases, safetensors_cases, zip_cases
from tests.integration.bad_input.cases import Case, marker_of
from tests.integration.bad_input.corpus import corpus
from tests.integration.bad_input.judging import complaints
from tests.integration.bad_input.running import Results, build_all, run_all

COLUMNS = ("right", "silently wrong", "unclear exception", "executed", "hang or memory", "whole one refused")
_CLEAR = {
    "builtins.FileNotFoundError",
    "builtins.IsADirectoryError",
    "builtins.NotImplementedError",
    "builtins.OSError",
    "builtins.PermissionError",
    "builtins.RuntimeError",
    "builtins.ValueError",
    "_pickle.UnpicklingError",
    "safetensors._safetensors_rust.SafetensorError",
}
"""What a loader raises on purpose. The rest (KeyError, EOFError, TypeError, …) came out of its insides."""

_MEMORY = ("hang", "died", "builtins.MemoryError")


def main() -> None:
    """Print what each loader made of the cases, as JSON lines, then as a table."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = {
            "ckpt": _ours(_folder(folder, "ckpt")),
            "safetensors safe_open": _peer(_folder(folder, "safe_open"), "safe_open", _is_safetensors),
            "torch.load(weights_only=True)": _peer(_folder(folder, "torch"), "weights_only", _is_torch),
        }
    for name, counts in rows.items():
        print(json.dumps({"job": "bad_input", "loader": name, "cases": sum(counts.values()), **counts}))
    print("\n".join(_table(rows)), file=sys.stderr)


def _folder(parent: str, name: str) -> Path:
    place = Path(parent) / name
    place.mkdir()
    return place


def _good(folder: Path) -> list[Path]:
    contents = {"g.safetensors": safetensors_cases.GOOD, "g.pth": zip_cases.GOOD, "g.pt": legacy_cases.GOOD}
    for name, content in contents.items():
        (folder.parent / name).write_bytes(content)
    return [folder.parent / name for name in contents]


def _ours(folder: Path) -> Counter[str]:
    cases = corpus()
    built = build_all(cases, folder)
    good = _good(folder)
    results = run_all({c.name: (built[c.name], ("inspect", "layout", "bytes")) for c in cases}, good=good)
    loaded = run_all({c.name: (built[c.name], ("load",)) for c in cases}, good=good, torch=True)
    counts: Counter[str] = Counter()
    for case in cases:
        answers = {**results[case.name], **loaded[case.name]}
        counts[_our_verdict(case, built[case.name], answers, folder)] += 1
    return counts


def _our_verdict(case: Case, path: Path, answers: dict[str, Results], folder: Path) -> str:
    if _executed(path, folder):
        return "executed"
    if any(answer.get("raised") in _MEMORY for answer in answers.values()):
        return "hang or memory"
    if not list(complaints(case, path, answers)):
        return "right"
    if case.benign:
        return "whole one refused"
    return "silently wrong" if answers["bytes"]["exit"] == 0 else "unclear exception"


def _peer(folder: Path, operation: str, takes: Callable[[Case, Path], bool]) -> Counter[str]:
    built_all = build_all(corpus(), folder)
    cases = [case for case in corpus() if takes(case, built_all[case.name])]
    jobs = {case.name: (built_all[case.name], (operation,)) for case in cases}
    found = run_all(jobs, good=_good(folder), torch=operation != "safe_open")
    counts: Counter[str] = Counter()
    for case in cases:
        verdict = _verdict(case, found[case.name][operation], built_all[case.name], folder)
        counts[verdict] += 1
        if "-v" in sys.argv and verdict != "right":
            said = {key: str(value)[:150] for key, value in found[case.name][operation].items() if key in _SHOWN}
            print(verdict, case.name[:100], said, file=sys.stderr)
    return counts


_SHOWN = ("raised", "message")


def _verdict(case: Case, answer: dict[str, Any], path: Path, folder: Path) -> str:
    if _executed(path, folder):
        return "executed"
    if answer["exit"] == 0:  # a bomb that was opened within the limits did no harm
        return "right" if case.benign or "bomb" in case.name or "deflated tensors" in case.name else "silently wrong"
    if answer["raised"] in _MEMORY:
        return "hang or memory"
    if case.benign:
        return "whole one refused"
    return "right" if answer["raised"] in _CLEAR else "unclear exception"


def _executed(path: Path, folder: Path) -> bool:
    own = folder / path.relative_to(folder).parts[0]
    return marker_of(own).exists() or marker_of(own).is_symlink()


def _is_safetensors(case: Case, path: Path) -> bool:
    named = path.name.endswith(".safetensors") and "#" not in str(path) and "a good file under" not in case.name
    return named and "torch named" not in case.name and not case.name.startswith(("seal", "hf"))


def _is_torch(case: Case, path: Path) -> bool:
    named = path.suffix in (".pth", ".pt", ".bin") and "#" not in str(path) and path.is_file()
    return (
        named and "broadcast" not in case.name and "window of" not in case.name and "safetensors named" not in case.name
    )


def _table(rows: dict[str, Counter[str]]) -> Sequence[str]:
    lines = [f"| loader (cases) | {' | '.join(COLUMNS)} |", f"|---|{'--:|' * len(COLUMNS)}"]
    for name, counts in rows.items():
        cells = " | ".join(str(counts[column]) for column in COLUMNS)
        lines.append(f"| {name} ({sum(counts.values())}) | {cells} |")
    return lines


if __name__ == "__main__":
    main()

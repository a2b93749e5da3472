"""What each tool catches: common faults in whole checkpoints of the tools themselves, by what people load them with.

`python -m benchmarks.faults` prints a JSON line for each fault and tool, and a Markdown table to stderr. `sft` and
`ckptkit` take part where their commands are on PATH (pip install sft-cli "ckptkit[cli]").
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from tests.integration.faults import sources
from tests.integration.faults.cases import FAULTS, WHOLE, Fault, lay_out, marker_of
from tests.integration.faults.judging import complaint

Try = Callable[[str, Path], str]
"""Loads a checkpoint of a kind, or checks it; what the tool complained of without failing. Raises as the tool does."""

_ALL = ("trainer", "sharded", "torch", "dcp")
_FILES = ("trainer", "sharded")


def _ours(kind: str, place: Path) -> str:
    return complaint(kind, place)


def _torch_load(kind: str, place: Path) -> str:
    import torch

    torch.load(place, weights_only=True)
    return ""


def _safetensors(kind: str, place: Path) -> str:
    from safetensors.torch import load_file

    for path in sorted(place.glob("*.safetensors")):
        load_file(path)
    return ""


def _dcp_load(kind: str, place: Path) -> str:
    import torch.distributed.checkpoint as dcp

    from tests.integration.resume.killed_saves import state

    dcp.load(state(2), checkpoint_id=place, no_dist=True)
    return ""


def _from_pretrained(kind: str, place: Path) -> str:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(place)
    return ""


def _trainer_resume(kind: str, place: Path) -> str:
    from tests.integration.resume.killed_saves import trainer_of

    trainer_of(place.parent / "resumed").train(resume_from_checkpoint=str(place))
    return ""


def _command(*words: str, suffixes: Sequence[str]) -> Try:
    def check(kind: str, place: Path) -> str:
        paths = [place] if place.is_file() else sorted(place.iterdir())
        for path in paths:
            if path.suffix not in suffixes:
                continue
            done = subprocess.run([*words, path], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[-1])
        return ""

    return check


_READS = {
    "safetensors load_file": ("weights",),
    "from_pretrained": ("weights", "model"),
    "ckptkit validate": ("weights",),
    "sft check": ("weights",),
}
"""What a tool looks at, where that is not everything."""

TOOLS: Mapping[str, tuple[Sequence[str], Try]] = {
    "ckpt": (_ALL, _ours),
    "torch.load(weights_only=True)": (("torch",), _torch_load),
    "safetensors load_file": (_FILES, _safetensors),
    "dcp.load": (("dcp",), _dcp_load),
    "from_pretrained": (_FILES, _from_pretrained),
    "Trainer resume": (("trainer",), _trainer_resume),
    "ckptkit validate": ((*_FILES, "torch"), _command("ckptkit", "validate", suffixes=(".safetensors", ".pt"))),
    "sft check": (_FILES, _command("sft", "check", suffixes=(".safetensors",))),
}
"""Of each tool: the kinds of checkpoints that are for it, and what is done with one."""


def main() -> None:
    """Print what each tool made of every fault."""
    left_out = [name for name in TOOLS if name.split()[0] in ("ckptkit", "sft") and not shutil.which(name.split()[0])]
    tools = [name for name in TOOLS if name not in left_out]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        script = sources.__file__
        subprocess.run([sys.executable, script, whole], check=True, capture_output=True)
        rows = {fault.title: _row(fault, whole, Path(folder), tools) for fault in (WHOLE, *FAULTS)}
    for title, row in rows.items():
        for tool, answers in row.items():
            print(json.dumps({"job": "faults", "fault": title, "tool": tool, "answers": answers}), flush=True)
    _print_table(rows, tools, left_out)


def _row(fault: Fault, whole: Path, folder: Path, tools: Sequence[str]) -> dict[str, dict[str, str]]:
    """Of each tool: what it made of the fault in each kind of checkpoint that is for it."""
    row: dict[str, dict[str, str]] = {}
    for tool in tools:
        kinds, attempt = TOOLS[tool]
        place = Path(tempfile.mkdtemp(dir=folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = lay_out(fault, whole, place)
        looks = fault.within in _READS.get(tool, (fault.within,))
        seen = {kind: path for kind, path in made.items() if looks and kind in kinds}
        row[tool] = {kind: _answer(attempt, kind, path, place / kind) for kind, path in seen.items()}
    return row


def _answer(attempt: Try, kind: str, path: Path, folder: Path) -> str:
    """`silent`, `executed`, `died`, or `caught: ` and what it said; in a process of its own."""
    said = folder / "said.json"
    child = os.fork()
    if child == 0:
        _quietly(attempt, kind, path, said)
    _, status = os.waitpid(child, 0)
    if marker_of(folder).exists():
        return "executed"
    if status or not said.exists():
        return "died"
    return str(json.loads(said.read_text()))


def _quietly(attempt: Try, kind: str, path: Path, said: Path) -> None:
    """In the child: make the attempt, with nothing printed, and write down how it went."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            complained = attempt(kind, path)
        answer = f"caught: {complained}" if complained else "silent"
    except BaseException as error:
        first = str(error).strip().splitlines() or [""]
        answer = f"caught: {type(error).__name__}: {first[0][:200]}"
    said.write_text(json.dumps(answer))
    os._exit(0)


def _print_table(rows: Mapping[str, Mapping[str, Mapping[str, str]]], tools: Sequence[str], out: Sequence[str]) -> None:
    lines = [f"| fault | {' | '.join(tools)} |", f"|---|{'---|' * len(tools)}"]
    harmless = {fault.title: fault.harmless for fault in FAULTS}
    for title, row in rows.items():
        cells = [_cell(row[tool], harmless.get(title, frozenset())) for tool in tools]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "safetensors", "transformers")]
    lines += ["", f"Versions: {', '.join(versions)}.", *(f"{name}: left out, its command is not here." for name in out)]
    print("\n".join(lines), file=sys.stderr)


def _cell(answers: Mapping[str, str], harmless: frozenset[str]) -> str:
    """One word for all kinds together, or the number of those in which the fault was caught."""
    if not answers:
        return "-"
    words = [_word(answer, kind in harmless) for kind, answer in answers.items()]
    if len(set(words)) == 1:
        return words[0]
    return ", ".join(f"{word} ({kind})" for kind, word in zip(answers, words, strict=True))


def _word(answer: str, harmless: bool) -> str:
    if answer == "silent" and harmless:
        return "loads right"
    return answer.partition(":")[0]


if __name__ == "__main__":
    main()

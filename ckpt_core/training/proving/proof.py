"""A training run through once, and once more while killed.

Again and again; both in folders of their own.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.text import printable
from ckpt_core.training.proving.comparing import Difference, first_difference

_TOLD = 2000
"""Characters of a command's output that are told where it fails."""


@dataclass(frozen=True, slots=True)
class ResumeProof:
    """The outcome of a training that was killed and went on.

    Attributes:
        command: How it was called.
        steps: Of the optimizer, uninterrupted.
        kills: Steps at which it was killed.
        resumed: Steps that it went on from.
        difference: Where both first differ; None where losses, weights, states and steps are equal to the bit.
    """

    command: tuple[str, ...]
    steps: int
    kills: tuple[int, ...]
    resumed: tuple[int, ...]
    difference: Difference | None

    @property
    def exact(self) -> bool:
        """Return whether nothing differs."""
        return self.difference is None


def prove_resume(
    command: Sequence[str], *, kills: int = 3, seed: int = 0, told: Callable[[str], object] = lambda text: None
) -> ResumeProof:
    """Run a training whole and killed, and compare both to the bit.

    It uses a Checkpointer.

    Its Checkpointer writes to temporary folders, whatever folder it names, and uploads nothing.

    Args:
        command: How the training is called, as a list of arguments.
        kills: How often it is killed, at the most.
        seed: Of the steps at which it is killed.
        told: Is told of each run, in a line.

    Raises:
        UsageError: It cannot be run, fails, has no Checkpointer, or saves nothing before its last step.
    """
    if kills < 1:
        raise UsageError(f"{argument('kills')}: at least one is needed, not {kills}")
    if not command:
        raise UsageError("a command is needed: ckpt prove-resume -- python train.py")
    with tempfile.TemporaryDirectory(prefix="ckpt-prove-") as folder:
        told("uninterrupted")
        whole = _Runs(command, os.path.join(folder, "whole"), told)
        whole.run()
        last, steps = _steps(whole.lines(), command), Random(seed)
        among = [step for step in range(1, last + 1) if step > _first_saved(whole.lines(), last)]
        chosen = sorted(steps.sample(among, min(kills, len(among))))
        killed = _Runs(command, os.path.join(folder, "killed"), told)
        for step in chosen:
            told(f"killed at step {step} of {last}")
            killed.run(step)
        told("to its end")
        killed.run()
        lines = killed.lines()
        resumed = tuple(line["resumed"] for line in lines if "resumed" in line)
        if not any(resumed):
            raise UsageError(
                f"{_shown(command)}: never went on from a checkpoint: it has to call Checkpointer.resume()"
            )
        return ResumeProof(tuple(command), last, tuple(chosen), resumed, first_difference(whole.lines(), lines))


class _Runs:
    """The processes of one training, in a folder."""

    def __init__(self, command: Sequence[str], folder: str, told: Callable[[str], object]) -> None:
        self.command = list(command)
        self.told = told
        self.folder = folder
        os.mkdir(folder)

    def run(self, kill: int | None = None) -> None:
        """Run the command until it ends, or kills itself at a step."""
        environment = {**os.environ, "CKPT_PROVE": self.folder, "CKPT_PROVE_KILL": "" if kill is None else str(kill)}
        before = len(self.lines())
        output = os.path.join(self.folder, "output")
        with open(output, "wb") as file:
            try:
                process = subprocess.Popen(
                    self.command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as error:
                raise UsageError(f"{_shown(self.command)}: cannot be run: {error.strerror}") from error
            try:
                code = process.wait()
            finally:
                _end(process)
        if code != 0 and not any("killed" in line for line in self.lines()[before:]):
            with open(output, encoding="utf-8", errors="replace") as text:
                said = text.read()[-_TOLD:]
            self.told(said)
            last = next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
            raise UsageError(f"{_shown(self.command)}: failed with exit code {code}: {printable(last, 400)}")

    def lines(self) -> list[dict[str, Any]]:
        """Return what the training wrote down so far."""
        try:
            with open(os.path.join(self.folder, "trace.jsonl"), encoding="utf-8") as file:
                return [json.loads(line) for line in file]
        except FileNotFoundError:
            return []


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the rest of a command.

    Such as workers of a process that was killed.
    """
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _steps(lines: Sequence[dict[str, Any]], command: Sequence[str]) -> int:
    steps = [line["step"] for line in lines if "step" in line]
    if not steps:
        raise UsageError(f"{_shown(command)}: has no step of a Checkpointer: it has to call after_step or save")
    return int(max(steps))


def _first_saved(lines: Sequence[dict[str, Any]], last: int) -> int:
    saved = [line["saved"] for line in lines if "saved" in line]
    if not saved or min(saved) >= last:
        raise UsageError(f"it saves nothing before its last step, {last}: nothing could be resumed; save more often")
    return int(min(saved))


def _shown(command: Sequence[str]) -> str:
    return printable(" ".join(command), 200)

"""The trace of each step of a training that is proved.

Digests of what its model was given and of its state.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from ckpt_core import knobs
from ckpt_core.training import random_states
from ckpt_core.training.data.keyed_loader import KeyedLoader
from ckpt_core.training.objects import states_of


class Trace:
    """The record of one process in a proof.

    It is `trace.jsonl` of the folder that `CKPT_PROVE` names.

    Attributes:
        run: Where the training's checkpoints go, in place of its own folder.
    """

    def __init__(self, folder: str, objects: Mapping[str, Any]) -> None:
        self.run = run_of(folder)
        self._path = os.path.join(folder, "trace.jsonl")
        self._objects = objects
        self._inputs: list[dict[str, Any]] = []
        self._last: int | None = None
        self._order: tuple[int, list[int]] = (-1, [])
        objects["model"].register_forward_pre_hook(self._given, with_kwargs=True)

    def after_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write a step down, once.

        This process ends where it is to be killed at that step.
        """
        if step == self._last:
            return
        self._last = step
        values = {name: repr(value) for name, value in metrics.items()}
        self._write(step=step, metrics=values, parts=self._parts(), inputs=self._inputs)
        self._inputs = []
        if knobs.prove_kill() == step:
            self._write(killed=step)
            os.kill(os.getpid(), signal.SIGKILL)

    def resumed(self, step: int, *, without: Sequence[str] = ()) -> None:
        """Write down the state that a resume restored.

        Parts that may have changed since the step was written down are left out.
        """
        parts = self._parts()
        self._write(resumed=step, parts={label: parts[label] for label in parts if label not in without})

    def saved(self, step: int) -> None:
        """Write down that there is a checkpoint."""
        self._write(saved=step)

    def _write(self, **line: Any) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)

    def _parts(self) -> dict[str, str]:
        states = {**states_of(self._objects), "rng": random_states.capture()}
        return {label: digest(state) for label, state in states.items()}

    def _given(self, module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if module.training:
            tensors = list(_tensors((given, named)))
            rows = [digest(row) for row in tensors[0]] if tensors and tensors[0].dim() else []
            self._inputs.append({"all": digest((given, named)), "rows": rows, "numbers": self._numbers()})

    def _numbers(self) -> list[int]:
        """Return the sample numbers of the last batch.

        The one that was given out last; none where nothing knows them.
        """
        loader = self._objects.get("sampler")
        if not isinstance(loader, KeyedLoader):
            return []
        state = loader.state_dict()
        if self._order[0] != state["epoch"]:
            self._order = state["epoch"], list(loader.order(state["epoch"]))
        begin = (state["position"] - 1) // state["batch_size"] * state["batch_size"]
        return self._order[1][max(begin, 0) : state["position"]]


def run_of(folder: str) -> str:
    """Return where a proof in a folder has its checkpoints."""
    return os.path.join(folder, "run")


def trace_of(objects: Mapping[str, Any]) -> Trace | None:
    """Return the trace of this process.

    None where its training is not being proved.
    """
    folder = knobs.prove_folder()
    return Trace(folder, objects) if folder else None


def digest(value: Any) -> str:
    """Return 64 bits of a tree of values as hexadecimal digits.

    Tensors, arrays and plain values.
    """
    state = blake2b(digest_size=8)
    _add(value, state.update)
    return state.hexdigest()


def _add(value: Any, add: Callable[[bytes], object]) -> None:
    import numpy as np
    import torch

    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().contiguous()
        add(f"{plain.dtype}{tuple(plain.shape)}".encode())
        add(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray):
        add(f"{value.dtype}{value.shape}".encode())
        add(value.tobytes())
    elif isinstance(value, Mapping):
        add(f"{{{len(value)}".encode())
        for key, item in value.items():
            add(repr(key).encode())
            _add(item, add)
    elif isinstance(value, list | tuple):
        add(f"[{len(value)}".encode())
        for item in value:
            _add(item, add)
    else:
        add(f"{type(value).__name__}:{value!r}".encode())


def _tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)

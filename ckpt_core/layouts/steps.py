"""Reads the training step from a checkpoint's content.

It knows which counters trainers keep, and where. The step that a name claims is in `step_names`; `step_of_name` is here
too, where plugins import it from.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from struct import unpack
from typing import TYPE_CHECKING

from ckpt_core.layouts.step_names import step_of_name as step_of_name
from ckpt_core.schema.state import Array, Opaque, TensorRef

if TYPE_CHECKING:
    from ckpt_core.schema.access import Files
    from ckpt_core.schema.state import State
    from ckpt_core.schema.tensors import TensorTable

STEPS = (
    "global_step",
    "global_steps",
    "step",
    "steps",
    "train_step",
    "train_steps",
    "current_step",
    "step_num",
    "step_count",
    "num_updates",
    "n_updates",
    "update",
    "iteration",
    "iterations",
    "global_iteration",
    "current_iteration",
    "iter",
    "iters",
    "iter_num",
    "n_iter",
    "global_iter",
    "current_iter",
    "it",
    "num_timesteps",
)
"""Keys of the number of steps done, the plainest first.

Lightning, DeepSpeed, minimind, BAGEL, Megatron, nanoGPT and litgpt (iter_num), rsl_rl (iter), fairseq (num_updates),
detectron2 (iteration), mmengine (iter), stable-baselines3 (num_timesteps).
"""

EPOCHS = ("epoch", "current_epoch", "cur_epoch", "epoch_num", "last_epoch")
"""Keys of the number of passes over the data; they count only where no step is kept."""

_NESTED = (
    "progress",
    "meta",
    "extra_state",
    "train_iterator",
    "optimizer_history",
    "trainer_state",
    "train_state",
    "training_state",
    "training",
    "trainer",
    "state",
)
"""Keys of dicts, or of lists whose last item is one, in which trainers keep their counters: mmengine, fairseq."""

_DEEPEST = 3
_LONGEST = 40
"""Characters of a value that are shown."""

_CODES = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B"}

Scalar = Callable[[str], float | int | None]
"""The value of a tensor of one element, by its name; None where it cannot be had."""


@dataclass(frozen=True, slots=True)
class Count:
    """A counter: the path of its key, and its value.

    Attributes:
        value: None where it counts nothing: None, or a negative number as a mark that the training has ended.
        problem: Why it is no number of steps; "" where it is one.
    """

    key: str
    value: int | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The key alone, in lower case."""
        return self.key.rpartition(".")[2].lower()

    @property
    def of_epochs(self) -> bool:
        return self.name in EPOCHS


def step_of_state(state: "State", scalar: Scalar | None = None) -> int | None:
    """Return the step that a saved object records.

    None where there is none, or where it is not of a step's type.
    """
    count = count_of_state(state, scalar)
    return None if count is None or count.problem else count.value


def count_of_state(state: "State", scalar: Scalar | None = None) -> Count | None:
    """Return the counter of how far a training was.

    Steps count before epochs, the top before what is nested.

    Args:
        state: The saved object, or its part that is about progress.
        scalar: Reads a step that is kept as a tensor; None to leave such out.

    Returns:
        The first that counts or is wrong; else one that is there and counts nothing; None where there is none.
    """
    idle: Count | None = None
    for count in counts_of_state(state, scalar):
        if count.problem or count.value is not None:
            return count
        idle = idle or count
    return idle


def counts_of_state(state: "State", scalar: Scalar | None = None) -> Iterator[Count]:
    """Yield a saved object's counters, the most reliable first."""
    places = list(_places(state, "", _DEEPEST))
    for keys in (STEPS, EPOCHS):
        for path, place in places:
            named = {str(key).lower(): key for key in place if isinstance(key, str)}
            for key in keys:
                if key in named:
                    yield from _count(f"{path}{named[key]}", place[named[key]], scalar)


def _places(state: "State", path: str, depth: int) -> "Iterator[tuple[str, Mapping[object, State]]]":
    """Yield the dicts that may hold counters, with their paths.

    The last item of a list is looked at.
    """
    if isinstance(state, list | tuple) and state:
        state = state[-1]
    if isinstance(state, Opaque):
        state = state.state
    if not isinstance(state, dict):
        return
    yield path, state
    for key in _NESTED if depth else ():
        if isinstance(state.get(key), dict | list | tuple | Opaque):
            yield from _places(state[key], f"{path}{key}.", depth - 1)


def _count(key: str, value: "State", scalar: Scalar | None) -> Iterator[Count]:
    """Yield a counter for a key and its value.

    Yields nothing for what only has a counter's name: a schedule, a log, a tensor of many elements.
    """
    if isinstance(value, TensorRef):
        value = None if scalar is None else scalar(value.name)
        if value is None:
            return
    if isinstance(value, Array):
        value = _element(value)
        if value is None:
            return
    if value is None:
        yield Count(key, None)
    elif type(value) is int or (isinstance(value, float) and value.is_integer()):
        yield Count(key, int(value) if value >= 0 else None)
    elif isinstance(value, bool | str | bytes | float):
        yield Count(key, None, f"{key} is {_shown(value)}, a {type(value).__name__}, where a number of steps belongs")


def _shown(value: bool | str | bytes | float) -> str:
    from ckpt_core.schema.text import printable

    return printable(repr(value), _LONGEST)


def _element(array: Array) -> bool | int | float | None:
    return None if any(size != 1 for size in array.shape) else _number(array.dtype.code, array.data)


def _number(code: str, data: bytes) -> bool | int | float | None:
    if code == "BOOL":
        return bool(data[0])
    if code == "BF16":
        return float(unpack("<f", b"\0\0" + data)[0])
    number = unpack(_CODES[code], data)[0] if code in _CODES else None
    return number if isinstance(number, int | float) else None


def scalar_reader(files: "Files", tensors: "TensorTable", confirm: Callable[[], None] | None = None) -> Scalar:
    """Return a function that reads tensors of one element.

    It returns None for every other tensor.

    Args:
        files: The listing that the tensors are stored in.
        tensors: Their table.
        confirm: Proves where they lie; run before the first is read.
    """

    def read(name: str) -> float | int | None:
        info = tensors.info(name)
        if info.numel != 1 or info.path is None:
            return None
        if confirm is not None:
            confirm()
        return _number(info.dtype.code, files.read(info.path, info.offset, info.nbytes))

    return read

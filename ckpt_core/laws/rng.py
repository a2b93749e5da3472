"""Checks that random states have sizes their generators accept.

Sources: torch `aten/src/ATen/CPUGeneratorImpl.cpp` (set_state: 5056 bytes, of old versions 5048) and
`cuda/CUDAGeneratorImpl.cpp` (seed and offset, 16 bytes; of old versions the seed alone); CPython
`Modules/_randommodule.c` (624 words and an index); numpy `random/_mt19937.pyx` (624 words).
"""

import re
from collections.abc import Iterator

from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.manifests import Component
from ckpt_core.schema.state import Array, State, TensorRef
from ckpt_core.schema.text import printable

_CPU, _CUDA = (5056, 5048), (16, 8)
_WORDS = 624
"""Words of a Mersenne twister's state."""

_IS_CUDA = re.compile(r"cuda|gpu", re.IGNORECASE)
_IS_OTHER = re.compile(r"npu|xpu|mps|musa|hpu|mlu|jax|numpy|np_|python", re.IGNORECASE)
_IS_CPU = re.compile(r"cpu|torch", re.IGNORECASE)
_DEEPEST = 6
_LONGEST = 60


def rng_findings(component: Component) -> Iterator[Finding]:
    """Yield RS005 for each random state its generator would refuse."""
    held = component.state
    if held is None:
        held = {name: TensorRef(name) for name in component.tensors}
    for path, problem in _problems(held, "", component, _DEEPEST):
        where = f" ({printable(path, _LONGEST)})" if path else ""
        message = f"{component.label}{where}: {problem}"
        hint = "take the random states of another checkpoint of the run, or resume without them"
        yield Finding("RS005", Severity.ERROR, message, hint=hint, component=component.label)


def _problems(state: State, path: str, component: Component, depth: int) -> Iterator[tuple[str, str]]:
    """Yield each problem with its path.

    A generator's own tuple is judged as a whole.
    """
    problem = _of_python(state) or _of_numpy(state, component)
    if problem is not None:
        if problem:
            yield path, problem
    elif isinstance(state, TensorRef | Array):
        wrong = _of_torch(_kind_and_shape(state, component), f"{component.name}.{path}")
        if wrong:
            yield path, wrong
    elif isinstance(state, dict | list | tuple) and depth:
        for key, item in state.items() if isinstance(state, dict) else enumerate(state):
            yield from _problems(item, f"{path}.{key}" if path else str(key), component, depth - 1)


def _of_python(state: State) -> str | None:
    """Return the problem of a state of `random`.

    "" for none; None where it is no such state.
    """
    if not isinstance(state, list | tuple) or len(state) != 3 or state[0] not in (2, 3):
        return None
    words = state[1]
    if not isinstance(words, list | tuple):
        return None
    right = len(words) == _WORDS + 1 and all(type(word) is int for word in words)
    return "" if right else f"{len(words)} words where the state of random has {_WORDS + 1}"


def _of_numpy(state: State, component: Component) -> str | None:
    """Return the problem of a state of numpy's Mersenne twister.

    The result is that of `_of_python`; the state is a tuple or a dict.
    """
    if isinstance(state, list | tuple) and len(state) == 5 and state[0] == "MT19937":
        return _twister(state[1], state[2], component)
    if isinstance(state, dict) and state.get("bit_generator") == "MT19937" and isinstance(state.get("state"), dict):
        return _twister(state["state"].get("key"), state["state"].get("pos"), component)
    return None


def _twister(words: State, position: State, component: Component) -> str:
    if isinstance(words, TensorRef | Array):
        shape = _kind_and_shape(words, component)[1]
    else:
        shape = (len(words),) if isinstance(words, list | tuple) else ()
    if shape != (_WORDS,):
        return f"words of shape {list(shape)} where numpy's state has {_WORDS}"
    return f"position {position!r} of {_WORDS}" if type(position) is int and not 0 <= position <= _WORDS else ""


def _kind_and_shape(leaf: TensorRef | Array, component: Component) -> tuple[str, tuple[int, ...]]:
    described = component.tensors.info(leaf.name) if isinstance(leaf, TensorRef) else leaf
    return described.dtype.code, described.shape


def _of_torch(found: tuple[str, tuple[int, ...]], path: str) -> str:
    """Return the problem of a state of torch's generators.

    "" for none, and for what may be another generator's.
    """
    code, shape = found
    right: tuple[int, ...]
    if _IS_CUDA.search(path):
        right, name = _CUDA, "CUDA's"
    elif _IS_OTHER.search(path):
        return ""
    elif _IS_CPU.search(path):
        right, name = _CPU, "the CPU's"
    elif code == "U8" and len(shape) == 1:
        right, name = (*_CPU, *_CUDA), "torch's"
    else:
        return ""
    if len(shape) == 2 and all(shape):
        shape = shape[1:]  # a row for each device
    if code != "U8" or len(shape) != 1 or shape[0] not in right:
        return f"{code} of shape {list(found[1])}; {name} generator has {right[0]} bytes, and torch refuses others"
    return ""

"""The random states of a process as tensors and numbers.

They are those of Python, numpy, torch's CPU, and every accelerator.

Sources: CPython `Lib/random.py` (getstate), numpy `random/mtrand.pyx` (get_state), torch `torch/random.py`,
`torch/cuda/random.py`.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_core.errors import LoadRefusedError

_ACCELERATORS = ("cuda", "xpu")
"""Modules of torch that have a state for each device."""


def capture() -> dict[str, Any]:
    """Return the state of every generator of this process.

    Of Python the words as I64 of shape [625], of numpy what its own `get_state(legacy=False)` gives, of torch U8.
    """
    import numpy as np
    import torch

    version, words, gauss = random.getstate()
    found: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": np.random.get_state(legacy=False),
        "cpu": torch.get_rng_state(),
    }
    for name in _devices():
        found[name] = list(getattr(torch, name).get_rng_state_all())
    return found


def restoring(state: Mapping[str, Any]) -> Callable[[], None]:
    """Return the filling of every generator's state.

    It was tried on other generators.

    Raises:
        LoadRefusedError: A generator does not take it, or the devices are others; nothing was changed.
    """
    import numpy as np
    import torch

    try:
        held = state["python"]
        python = (held["version"], tuple(torch.as_tensor(held["words"]).tolist()), held["gauss"])
        numpy = _numpy_state(state["numpy"])
        random.Random().setstate(python)
        np.random.RandomState().set_state(numpy)
        torch.Generator().set_state(state["cpu"])
    except Exception as error:  # each generator raises what it likes
        raise _refused(f"a generator does not take its state ({type(error).__name__}: {error})") from error
    devices = _devices()
    saved = {name: len(state[name]) for name in _ACCELERATORS if name in state}
    here = {name: getattr(torch, name).device_count() for name in devices}
    if saved != here:
        raise _refused(f"saved with {_shown(saved)}, and here is {_shown(here)}")

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(state["cpu"])
        for name in devices:
            getattr(torch, name).set_rng_state_all(state[name])

    return restore


def _numpy_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state with its words as an array.

    Formats keep it as a tensor.
    """
    import numpy as np

    words = np.asarray(state["state"]["key"]).astype(np.uint32)
    return {**state, "state": {**state["state"], "key": words}}


def _devices() -> list[str]:
    import torch

    return [name for name in _ACCELERATORS if hasattr(torch, name) and getattr(torch, name).is_available()]


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no accelerator"


def _refused(reason: str) -> LoadRefusedError:
    return LoadRefusedError(f"rng: {reason}; nothing was changed")

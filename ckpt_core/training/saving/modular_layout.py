"""A training in the words of ModularTrainer.

Its own code, and `from_pretrained`, find them in a checkpoint of ours.

Source: chef-genius-ai `cli/training/checkpoint_utils.py` (save_checkpoint, load_checkpoint); transformers
`modeling_utils.py` (save_pretrained).
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_MERSENNE = "MT19937"


def in_its_words(parts: Mapping[str, Any], model: "torch.nn.Module") -> dict[str, Any]:
    """Return the parts of a training as ModularTrainer's.

    Its random states, losses and the configs of its model come with it.

    `best_loss` is the least of the metric `loss`, `epoch_losses` are the values of the metric `epoch_loss`.
    """
    progress = parts["progress"]
    best = progress["best"].get("loss", {}).get("least", float("inf"))
    losses = [float(value) for value in parts.get("progress:history", {}).get("epoch_loss", {}).get("values", ())]
    told = {**progress, "best_loss": best, "epoch_losses": losses}
    random = {label: random_in_its_words(one) for label, one in parts.items() if label.partition(":")[0] == "rng"}
    return {**parts, **configs_of(model), **random, "progress": told}


def configs_of(model: "torch.nn.Module") -> dict[str, Any]:
    """Return the configs of a model of transformers.

    They are as `save_pretrained` writes them; another model has none.
    """
    config: Any = getattr(model, "config", None)
    generation: Any = getattr(model, "generation_config", None)
    if not hasattr(config, "to_json_string"):
        return {}
    own = {"architectures": [type(model).__name__], "dtype": _short(getattr(model, "dtype", None))}
    found = {"config": {**json.loads(config.to_json_string()), **{key: value for key, value in own.items() if value}}}
    if hasattr(generation, "to_json_string"):
        found["config:generation"] = json.loads(generation.to_json_string())
    return found


def random_in_its_words(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return random states under ModularTrainer's names.

    They are those of `random_states.capture`, as plain numbers and tensors of torch.
    """
    python, more = state["python"], {key: value for key, value in state.items() if key not in _CAPTURED}
    found = {
        "python_rng_state": (python["version"], tuple(python["words"].tolist()), python["gauss"]),
        "numpy_rng_state": _numpy(state["numpy"]),
        "torch_rng_state": state["cpu"],
    }
    if "cuda" in state:
        found |= {"cuda_rng_state": state["cuda"][0], "cuda_rng_state_all": list(state["cuda"])}
    return {**found, **more}


def as_captured(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return random states as `capture` gives them, also of what `random_in_its_words` made."""
    if "python_rng_state" not in state:
        return state
    version, words, gauss = state["python_rng_state"]
    found = {
        "python": {"version": version, "words": list(words), "gauss": gauss},
        "numpy": _of_numpy(state["numpy_rng_state"]),
        "cpu": state["torch_rng_state"],
    }
    if "cuda_rng_state_all" in state:
        found["cuda"] = list(state["cuda_rng_state_all"])
    return {**found, **{key: value for key, value in state.items() if not key.endswith(("_rng_state", "_state_all"))}}


_CAPTURED = ("python", "numpy", "cpu", "cuda")


def _numpy(state: Mapping[str, Any]) -> Any:
    """Return the tuple of `get_state()`, its words as numbers.

    Of another generator than numpy's own the dict.
    """
    inner = {**state["state"], "key": state["state"]["key"].tolist()} if "key" in state["state"] else state["state"]
    if state["bit_generator"] != _MERSENNE:
        return {**state, "state": inner}
    return (_MERSENNE, inner["key"], inner["pos"], state["has_gauss"], state["gauss"])


def _of_numpy(state: Any) -> Mapping[str, Any]:
    if isinstance(state, Mapping):
        return state
    name, key, pos, has_gauss, gauss = state
    return {"bit_generator": name, "state": {"key": key, "pos": pos}, "has_gauss": has_gauss, "gauss": gauss}


def _short(dtype: Any) -> str:
    return "" if dtype is None else str(dtype).removeprefix("torch.")

"""Comparison of a checkpoint with the model to be trained.

They are compared before it is loaded.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckpt_core import LoadError, load, printable

_EXPERT = re.compile(r"experts?[._](\d+)\b")


def check_architecture(path: str, given: Mapping[str, Any]) -> None:
    """Compare what the model is built with against the checkpoint.

    Args:
        path: The checkpoint's folder.
        given: By name as the config has it, such as `num_experts`; what the checkpoint says nothing of is passed over.

    Raises:
        LoadError: The checkpoint was trained with something else.
    """
    if not given:
        return
    known = _config(Path(path) / "config.json")
    for name, value in given.items():
        trained = known.get(name, known.get(f"_dylora_{name}"))
        if trained is None and name == "num_experts":
            trained = _count_experts(path)
        if trained is not None and trained != value:
            raise LoadError(
                f"{printable(path)}: was trained with {name}={trained}, and the model is built with {value}; "
                f"give --{name} {trained}"
            )


def _config(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _count_experts(path: str) -> int | None:
    """Return the number of experts that have tensors of their own.

    None where no tensor is an expert's.
    """
    with_number = {
        int(number)
        for component in load(path).manifest.components
        for name in component.tensors
        for number in _EXPERT.findall(name)
    }
    return len(with_number) or None

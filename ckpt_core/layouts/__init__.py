"""The rules and builders that directory layouts share.

They are the builder, components, steps, single files and tables in memory. Plugin authors may count on what is in
`__all__`, imported on first use; the modules behind it may change.
"""

from typing import TYPE_CHECKING

from ckpt_core.lazy import lazy_names

_WHERE = {
    "COMPUTABLE": "ckpt_core.layouts.numbers",
    "CheckpointBuilder": "ckpt_core.layouts.builder",
    "Layout": "ckpt_core.layouts.dispatch",
    "LayoutTable": "ckpt_core.layouts.dispatch",
    "NO_TENSORS": "ckpt_core.layouts.builder",
    "candidates": "ckpt_core.layouts.single_file",
    "checkpoint_of": "ckpt_core.layouts.in_memory",
    "component_at": "ckpt_core.layouts.components",
    "components_of": "ckpt_core.layouts.components",
    "keyed_components": "ckpt_core.layouts.components",
    "narrow_bytes": "ckpt_core.layouts.numbers",
    "only_path": "ckpt_core.layouts.single_file",
    "read_json": "ckpt_core.layouts.builder",
    "read_json_value": "ckpt_core.layouts.builder",
    "step_of_name": "ckpt_core.layouts.steps",
    "step_of_state": "ckpt_core.layouts.steps",
    "wide_numbers": "ckpt_core.layouts.numbers",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - tests/test_public_names.py pins it

if TYPE_CHECKING:
    from ckpt_core.layouts.builder import NO_TENSORS as NO_TENSORS
    from ckpt_core.layouts.builder import CheckpointBuilder as CheckpointBuilder
    from ckpt_core.layouts.builder import read_json as read_json
    from ckpt_core.layouts.builder import read_json_value as read_json_value
    from ckpt_core.layouts.components import component_at as component_at
    from ckpt_core.layouts.components import components_of as components_of
    from ckpt_core.layouts.components import keyed_components as keyed_components
    from ckpt_core.layouts.dispatch import Layout as Layout
    from ckpt_core.layouts.dispatch import LayoutTable as LayoutTable
    from ckpt_core.layouts.in_memory import checkpoint_of as checkpoint_of
    from ckpt_core.layouts.numbers import COMPUTABLE as COMPUTABLE
    from ckpt_core.layouts.numbers import narrow_bytes as narrow_bytes
    from ckpt_core.layouts.numbers import wide_numbers as wide_numbers
    from ckpt_core.layouts.single_file import candidates as candidates
    from ckpt_core.layouts.single_file import only_path as only_path
    from ckpt_core.layouts.steps import step_of_name as step_of_name
    from ckpt_core.layouts.steps import step_of_state as step_of_state
else:
    __getattr__, __dir__ = lazy_names(__name__, _WHERE)

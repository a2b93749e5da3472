"""Checks that the tensors of a model go together.

minimind keeps no config, so that its tensors are compared with each other.

Source: minimind `model/model_minimind.py`: one width, one vocabulary and one inner size for all layers, and
`load_state_dict(strict=False)` in its evaluation, which starts what is missing at random.
"""

from collections.abc import Iterator

from ckpt_core import Checkpoint, Component, Finding
from ckpt_core.laws.missing_blocks import missing_projections
from ckpt_core.laws.model_sizes import ModelSizes, model_sizes
from ckpt_core.laws.tensor_infos import TensorInfos
from ckpt_minillm.model_shape import facts_of

_GATE = ".mlp.gate_proj.weight"


def weight_laws(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Yield LW004 and LW020 to LW023 of a model.

    Nothing of a LoRA, whose model is elsewhere.
    """
    for component in checkpoint.manifest.components:
        facts = facts_of(component.tensors)
        if component.kind == "model" and not facts.lora_only:
            infos = dict(component.tensors.infos())
            yield from model_sizes(_sizes_of(component, infos), infos)
            yield from missing_projections(infos)


def _sizes_of(component: Component, infos: TensorInfos) -> ModelSizes:
    """Return the sizes that the first tensors show."""
    facts = facts_of(component.tensors)
    gate = next((name for name in infos if name.endswith(_GATE) and len(infos[name].shape) == 2), None)
    return ModelSizes(
        next((info.path or "" for info in infos.values()), ""),
        vocabularies=() if facts.vocab_size is None else (("vocab_size", facts.vocab_size),),
        hidden=None if facts.hidden_size is None else ("hidden_size", facts.hidden_size),
        inner=None if gate is None or facts.use_moe else ("intermediate_size", infos[gate].shape[0]),
    )

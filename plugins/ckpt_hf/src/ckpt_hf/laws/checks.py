"""The laws that a config adds.

They are asked of every layout of Hugging Face's whose config lies beside its weights.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core import Checkpoint, Component, Files, Finding, Severity, VerifyRequest, printable
from ckpt_core.laws.config_claims import config_laws
from ckpt_hf.bagel import language_laws
from ckpt_hf.diffusers.claims import component_laws
from ckpt_hf.laws.quantization import quantization_laws
from ckpt_hf.laws.second_copy import second_copy
from ckpt_hf.names import CONFIG
from ckpt_hf.peft.base import other_base
from ckpt_hf.peft.laws import lora_laws
from ckpt_hf.weights.adapter_names import ADAPTER_CONFIG

Config = Mapping[str, Any]


def check(files: Files, checkpoint: Checkpoint, request: VerifyRequest) -> Iterator[Finding]:
    """Yield findings where configs contradict the tensors.

    Nothing where no purpose is given.
    """
    if request.profile is None:
        return
    configs = {one.name: one.state for one in checkpoint.manifest.components if one.kind == "config"}
    for component in checkpoint.manifest.components:
        state = configs.get(component.label if component.kind == "adapter" else component.name)
        if component.kind in ("model", "ema"):
            yield from language_laws(files, component)
        if not isinstance(state, dict):
            continue
        if component.kind == "adapter":
            yield from _check_adapter(component, state)
        elif component.kind in ("model", "ema"):
            yield from _check_model(component, state, files)
    yield from _foreign_code(configs.get(""))
    if checkpoint.match.format in ("hf", "hf-trainer"):
        yield from second_copy(files, checkpoint, request)
        yield from _without_index(checkpoint)


def _check_model(component: Component, config: Config, files: Files) -> Iterator[Finding]:
    infos = dict(component.tensors.infos())
    if "_class_name" in config:
        yield from component_laws(config, infos, CONFIG)
        return
    yield from config_laws(config, infos, CONFIG)
    yield from quantization_laws(config, infos, CONFIG, files.entries)


def _check_adapter(component: Component, config: Config) -> Iterator[Finding]:
    infos = dict(component.tensors.infos())
    path = f"{component.name}/{ADAPTER_CONFIG}".lstrip("/")
    yield from lora_laws(config, infos, path)
    yield from other_base(config.get("base_model_name_or_path"), infos, path)


def _foreign_code(config: object) -> Iterator[Finding]:
    """Yield LW031 for a config that names code.

    transformers fetches and runs it, if it is allowed to.
    """
    named = config.get("auto_map") if isinstance(config, dict) else None
    if isinstance(named, dict) and named:
        what = ", ".join(printable(str(value), 60) for value in list(named.values())[:2])
        message = f"{CONFIG}: auto_map names code outside of the weights ({what}), which from_pretrained asks to run"
        hint = "without trust_remote_code it is refused, or another class is taken; read that code first"
        yield Finding("LW031", Severity.WARNING, message, CONFIG, hint=hint)


def _without_index(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Yield LW036 for shards without their index.

    from_pretrained does not find them.
    """
    for finding in checkpoint.manifest.findings:
        if finding.code == "HF013":
            message = f"{printable(finding.path or '')}: shards without an index, which from_pretrained does not find"
            hint = "ckpt repair writes the index; ckpt itself joins them by their numbers"
            yield Finding("LW036", Severity.ERROR, message, finding.path, hint=hint)

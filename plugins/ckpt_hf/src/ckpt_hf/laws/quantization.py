"""Compares a config's quantization_config with the stored tensors.

Source: transformers `utils/quantization_config.py` (quant_method) and `quantizers/`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ckpt_core import DType, Finding, Severity, printable
from ckpt_core.laws.quantized import find_codes, has_scales
from ckpt_core.laws.tensor_infos import TensorInfos

Config = Mapping[str, Any]

_STORED = {
    "gptq": {"gptq"},
    "awq": {"awq"},
    "auto-round": {"gptq", "awq"},
    "bitsandbytes": {"bitsandbytes 4-bit", "bitsandbytes int8"},
    "fp8": {"fp8"},
    "fbgemm_fp8": {"fp8"},
    "compressed-tensors": {
        "compressed-tensors",
        "compressed-tensors fp4",
        "compressed-tensors mx",
        "fp8",
        "int8",
    },
    "modelopt": {"fp8", "packed bytes", "int8"},
    "torchao": {"torchao"},
    "hqq": {"hqq"},
    "eetq": {"eetq"},
    "quanto": {"quanto"},
    "mxfp4": {"mxfp4"},
    "aqlm": {"aqlm"},
}
"""Of each method: the schemes under which its codes are found."""

_ELSEWHERE = ("hf_quant_config.json", "quanto_qmap.json", "quantize_config.json", "quant_config.json")
"""Files in which ModelOpt, optimum-quanto, AutoGPTQ and AutoAWQ say it where config.json does not."""


def quantization_laws(config: Config, infos: TensorInfos, path: str, beside: Collection[str] = ()) -> Iterator[Finding]:
    """Yield LW014 where config and quantized weights disagree.

    The config says that weights are quantized where none is, or says nothing where they are.

    Args:
        config: The model's.
        infos: Its tensors.
        path: The config's.
        beside: Files beside it, of which one may say what the config does not.
    """
    said = config.get("quantization_config", config.get("compression_config"))
    schemes = {codes.scheme.name for codes in find_codes(infos) if has_scales(codes, infos)}
    if not isinstance(said, dict):
        if schemes and not any(name in beside for name in _ELSEWHERE):
            names = " and ".join(sorted(schemes))
            message = f"{printable(path)} has no quantization_config, and weights are stored as codes ({names})"
            hint = "a loader takes codes for weights, or refuses them; copy the quantized model's own config"
            yield Finding("LW014", Severity.ERROR, message, path, hint=hint)
        return
    method = said.get("quant_method")
    method = "bitsandbytes" if method is None and (said.get("load_in_4bit") or said.get("load_in_8bit")) else method
    known = _schemes(said, method)
    if known is None or schemes & known or not infos:
        return
    stored = " and ".join(sorted(schemes)) or _plain(infos)
    message = f"{printable(path)} says that {printable(str(method), 40)} quantized the weights, stored are {stored}"
    hint = "weights and config are of different models; take quantization_config away if the weights are not quantized"
    yield Finding("LW014", Severity.ERROR, message, path, hint=hint)


def _schemes(said: Config, method: object) -> set[str] | None:
    """Return the schemes of which one must be stored.

    None where a config leaves it open.
    """
    known = _STORED.get(method) if isinstance(method, str) else None
    if method == "compressed-tensors" and (
        said.get("quantization_status") not in ("compressed", None) or said.get("format") == "dense"
    ):
        return None
    if method == "awq" and str(said.get("version", "gemm")).lower() != "gemm":
        return {"awq", "gptq"}  # GEMV's rows are those of GPTQ's columns in small layers
    if method == "bitsandbytes" and said.get("load_in_4bit") is not said.get("load_in_8bit"):
        return {"bitsandbytes 4-bit" if said.get("load_in_4bit") else "bitsandbytes int8"}
    return known


def _plain(infos: TensorInfos) -> str:
    kinds: set[DType] = {info.dtype for info in infos.values()}
    return "tensors of " + " and ".join(sorted(kind.code for kind in kinds))

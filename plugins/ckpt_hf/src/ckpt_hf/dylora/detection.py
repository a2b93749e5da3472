"""Recognises folders of DyLoRA-MoE.

Names tell, and where those leave it open a config's head.
"""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch
from ckpt_hf.folders import Folder, folders
from ckpt_hf.names import CONFIG, group, step_of
from ckpt_hf.nested_models import head_json
from ckpt_hf.trainer.detection import STATE

NAME = "dylora"
EXPERTS = "peft_adapters"
ROUTER_STATE = "dylo_moe_state"


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder with experts.

    A state of the router that lies apart from them has one, too.
    """
    every = {folder.root: folder for folder in folders(files)}
    experts = {root for root, folder in every.items() if _evidence(files, folder)}
    for root, folder in every.items():
        if root in experts:
            yield FormatMatch(NAME, Confidence.CERTAIN, _evidence(files, folder), root, step_of(folder.name))
        elif is_state(folder) and root.rpartition("/")[0] not in experts - {root}:
            yield FormatMatch(NAME, Confidence.CERTAIN, "router.pt in dylo_moe_state", root)


def _evidence(files: Files, folder: Folder) -> str:
    routers = {"router.safetensors", "router.pt"} & folder.files
    stripped = STATE in folder.files and not group(folder.files)
    if EXPERTS not in folder.folders and not routers and not stripped:
        return ""  # so that the config of any other model is not read for it
    config = head_json(files, f"{folder.root}/{CONFIG}".lstrip("/")) or {}
    if config.get("model_type") == "dylora-moe" or any(key.startswith("_dylora_") for key in config):
        return f"{CONFIG} of DyLoRA-MoE"
    return f"{EXPERTS}/ of DyLoRA-MoE" if EXPERTS in folder.folders else ""


def is_state(folder: Folder) -> bool:
    """Return True for the router's own folder.

    The first version saved its router there, with nothing else beside.
    """
    return folder.name == ROUTER_STATE and "router.pt" in folder.files

"""Which folders of a listing are a model in Meta's own layout, told from names alone."""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.llama.names import PARAMS, survey

NAME = "llama"


def find(files: Files) -> Iterator[FormatMatch]:
    """A match for each folder with params.json beside a rank's file, or with the files of several ranks."""
    if files.location.kind is LocationKind.FILE:
        return
    for root, ranks in sorted(survey(files.entries).items()):
        has_params = f"{root}/{PARAMS}".lstrip("/") in files.entries
        if has_params or len(ranks) > 1 or min(ranks) > 0:
            evidence = f"{len(ranks)} of consolidated.NN.pth" + (f" beside {PARAMS}" if has_params else "")
            step = step_of_name(root or files.location.name)
            confidence = Confidence.CERTAIN if has_params else Confidence.LIKELY
            yield FormatMatch(NAME, confidence, evidence, root, step, files=tuple(ranks.values()))

"""Recognises models in Meta's own layout by names alone."""

from collections.abc import Iterator

from ckpt_core import Confidence, Files, FormatMatch, LocationKind
from ckpt_core.layouts import step_of_name
from ckpt_fsdp.llama.names import PARAMS, survey

NAME = "llama"


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each folder of Meta's layout.

    It has params.json beside a rank's file, or the files of several ranks.
    """
    if files.location.kind is LocationKind.FILE:
        return
    for root, ranks in sorted(survey(files.entries).items()):
        has_params = f"{root}/{PARAMS}".lstrip("/") in files.entries
        if has_params or len(ranks) > 1 or min(ranks) > 0:
            evidence = f"{len(ranks)} of consolidated.NN.pth" + (f" beside {PARAMS}" if has_params else "")
            step = step_of_name(root or files.location.name)
            confidence = Confidence.CERTAIN if has_params else Confidence.LIKELY
            yield FormatMatch(NAME, confidence, evidence, root, step, files=tuple(ranks.values()))

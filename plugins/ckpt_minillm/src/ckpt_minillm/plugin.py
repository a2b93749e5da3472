"""The hooks of this plugin."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ckpt_core import Format, FormatOption, LocationKind, hookimpl

if TYPE_CHECKING:
    from ckpt_core import (
        Candidate,
        Checkpoint,
        Files,
        Finding,
        FormatMatch,
        LoadRequest,
        Manifest,
        Query,
        StoredCheckpoint,
        Target,
        VerifyRequest,
    )


@hookimpl
def formats() -> tuple[Format, ...]:
    from ckpt_minillm.hints import HINTS
    from ckpt_minillm.naming import ALIASES, STAGES
    from ckpt_minillm.view_options import VIEWS

    weights = "weights of a MiniLLM or minimind stage: {stage}_{hidden_size}[_moe].pth"
    resume = "what its training goes on from: {stage}_{hidden_size}[_moe]_resume.pth"
    ranks = FormatOption("world_size", "convert the step to so many ranks, by minimind's rule", int, writes=False)
    return (
        Format(
            "minillm",
            weights,
            base="torch",
            options=VIEWS,
            hints=HINTS,
            writes=LocationKind.FILE,
            stages=(*STAGES, *ALIASES),
        ),
        Format("minillm-resume", resume, base="torch", options=(ranks,), writes=LocationKind.FILE),
    )


@hookimpl
def locate(query: "Query") -> "Iterable[Candidate]":
    if not query.hints and any(mark in (query.place or "") for mark in "./"):
        return ()
    from ckpt_minillm.search import candidates

    return candidates(query)


@hookimpl
def detect_format(files: "Files") -> "Iterable[FormatMatch]":
    if not any(path.endswith(".pth") for path in files.entries):
        return ()
    from ckpt_minillm.detection import matches

    return matches(files)


@hookimpl
def load(files: "Files", match: "FormatMatch", request: "LoadRequest") -> "StoredCheckpoint":
    if match.format == "minillm-resume":
        from ckpt_minillm.resume.reading import read_resume

        return read_resume(files, match, request)
    from ckpt_minillm.weights import read_weights

    weights = read_weights(files, match, request)
    if not request.options:
        return weights
    from ckpt_minillm.transformers.view import with_options

    return with_options(weights, request.options)


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterable[Finding]":
    if checkpoint is None or request.profile is None or checkpoint.match.format != "minillm":
        return ()
    from ckpt_minillm.weight_laws import weight_laws

    return weight_laws(checkpoint)


@hookimpl
def save(checkpoint: "Checkpoint", target: "Target") -> "Manifest":
    if target.format == "minillm-resume":
        from ckpt_minillm.resume.writing import save_resume

        return save_resume(checkpoint, target)
    from ckpt_minillm.writing import save_weights

    return save_weights(checkpoint, target)

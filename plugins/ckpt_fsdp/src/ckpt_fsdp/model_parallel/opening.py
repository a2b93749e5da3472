"""Opens the files of all ranks.

Each rank's weights are a component of its own, with what is missing or contradicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from ckpt_core import (
    Asset,
    Component,
    CorruptError,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Severity,
    State,
    StoredCheckpoint,
    TensorRef,
    printable,
)
from ckpt_core.codecs import TorchFile
from ckpt_core.layouts import CheckpointBuilder, components_of, step_of_state
from ckpt_fsdp.model_parallel.detection import is_candidate, saves_in
from ckpt_fsdp.model_parallel.names import MODEL, Rank, expected, folder_of, folders, label
from ckpt_fsdp.model_parallel.sizes import Sizes, sizes_of
from ckpt_fsdp.rank_sets import RankSet

_SHARED = ("config", "scheduler", "progress", "tokenizer")
"""Kinds that every rank saves alike: that of the first is shown."""

_SHOWN = 64
_COPY = "copy the checkpoint again, the files of all ranks"


def read(files: Files, match: FormatMatch, request: LoadRequest) -> StoredCheckpoint:
    """Read the pickles of all ranks; no tensor is read.

    Raises:
        CorruptError: PT002, no files of ranks are here.
        UnsafeContentError: PK003, a file would run code.
    """
    builder = CheckpointBuilder(files)
    inside = folders(files.entries).get("", {})
    loose = None if inside else _loose(files)
    paths = inside or {(rank,): [path] for rank, path in (loose.paths if loose else {}).items()}
    opened = {rank: _open(builder, rank, of_rank) for rank, of_rank in paths.items()}
    models = {rank: of_rank for rank, (of_rank, _) in opened.items() if of_rank is not None}
    sizes = _agreed(builder, {rank: sizes_of(file.root) for rank, file in models.items()}, models)
    sizes = Sizes(sizes.tensor * sizes.pipeline * sizes.expert) if loose else sizes
    builder.findings += _missing(sizes, paths, loose)
    builder.findings += _differing_names(models)
    builder.findings += _differing_steps(models)
    for rank, (model, others) in opened.items():
        own = label(rank, sizes) if len(paths) > 1 or sizes != Sizes() else ""
        _add(builder, model, own, first=rank == next(iter(models), None))
        for file in others:
            _add(builder, file, own, first=False, kind="optimizer")
    if sizes != Sizes():
        builder.findings.append(_not_merged(sizes))
    steps = [step for file in models.values() if (step := step_of_state(file.root)) is not None]
    used = {path for of_rank in paths.values() for path in of_rank}
    assets = [Asset(path, entry.size) for path, entry in files.entries.items() if path not in used]
    return builder.checkpoint(match, step=steps[0] if steps else None, assets=assets)


def _loose(files: Files) -> RankSet:
    saves = saves_in(files, [path for path in files.entries if "/" not in path and is_candidate(path)])
    if len(saves) != 1:
        text = f"{files.location}: no files of the ranks of one save are here; name the folder that has them"
        raise CorruptError(text, code="PT002")
    return saves[0].sets[0]


def _open(builder: CheckpointBuilder, rank: Rank, paths: Sequence[str]) -> tuple[TorchFile | None, list[TorchFile]]:
    """Open the files of a rank: its weights and others.

    None for weights that cannot be read.
    """
    name = "-".join(map(str, rank))
    by_name = {path.rpartition("/")[2]: path for path in paths}
    main = next((by_name[known] for known in MODEL if known in by_name), paths[0])
    model = builder.tried("model", main, partial(builder.torch, main), name=name)
    others = [path for path in paths if path != main]
    files = [builder.tried("optimizer", path, partial(builder.torch, path), name=name) for path in others]
    return model, [file for file in files if file is not None]


def _agreed(builder: CheckpointBuilder, said: Mapping[Rank, Sizes | None], models: Mapping[Rank, TorchFile]) -> Sizes:
    """Return the sizes that the files say.

    The first counts where they contradict each other, and PT003 is noted.
    """
    known = {rank: sizes for rank, sizes in said.items() if sizes is not None}
    first = next(iter(known.values()), None)
    for rank, sizes in known.items():
        if first is not None and sizes != first:
            path = models[rank].path
            message = f"{printable(path)}: of a model in {sizes.shown}, and others here are of one in {first.shown}"
            builder.findings.append(Finding("PT003", Severity.ERROR, message, path, hint=_COPY))
    return first or _by_numbers(list(said))


def _by_numbers(ranks: Sequence[Rank]) -> Sizes:
    """Return the least sizes that numbers in names allow."""
    longest = max(map(len, ranks), default=1)
    counts = [max((rank[place] for rank in ranks if len(rank) > place), default=0) + 1 for place in range(longest)]
    return Sizes(*counts[:3])


def _missing(sizes: Sizes, there: Mapping[Rank, Sequence[str]], loose: RankSet | None) -> list[Finding]:
    """Yield PT002 and PT003 for missing or extra ranks.

    PT002 for each rank that is not there, PT003 where more are than there were ranks.
    """
    ranks = expected(sizes) if sizes.tensor * sizes.pipeline * sizes.expert <= 1 << 16 else []
    gone = [rank for rank in ranks if rank not in there]
    findings = []
    for rank in gone[:_SHOWN]:
        name = loose.name_of(rank[0]) if loose else folder_of(rank)
        message = f"{printable(name) or f'rank {rank[0]}'}: this rank's files are missing: there were {sizes.shown}"
        findings.append(Finding("PT002", Severity.ERROR, message, name or None, hint=_COPY))
    for rank in there:
        if ranks and rank not in ranks:
            message = f"{printable(there[rank][0])}: of a rank that was not among {sizes.shown}; left over?"
            findings.append(Finding("PT003", Severity.ERROR, message, there[rank][0], hint=_COPY))
    return findings


def _differing_names(models: Mapping[Rank, TorchFile]) -> list[Finding]:
    """Return PT003 for ranks with differing tensor names.

    They share the layers of a stage.
    """
    findings = []
    first: dict[Rank, tuple[TorchFile, set[str]]] = {}
    for rank, file in models.items():
        names = {name for name in file.tensors if name.startswith("model")}
        known, expected_names = first.setdefault(rank[1:], (file, names))
        if names != expected_names:
            name = min(names ^ expected_names)
            where = "only there" if name in expected_names else "not there"
            message = (
                f"{printable(file.path)}: other tensors than {printable(known.path)}: {printable(name)} is {where}"
            )
            findings.append(Finding("PT003", Severity.ERROR, message, file.path, name, _COPY))
    return findings


def _differing_steps(models: Mapping[Rank, TorchFile]) -> list[Finding]:
    steps = {rank: step_of_state(file.root) for rank, file in models.items()}
    first = next(iter(steps), None)
    if first is None:
        return []
    return [
        Finding(
            "PT003",
            Severity.ERROR,
            f"{printable(models[rank].path)}: of step {step}, and {printable(models[first].path)} is of {steps[first]}",
            models[rank].path,
            hint=_COPY,
        )
        for rank, step in steps.items()
        if step != steps[first]
    ]


def _add(builder: CheckpointBuilder, file: TorchFile | None, name: str, *, first: bool, kind: str = "") -> None:
    """Add the components of a rank's file.

    They have the rank's name; what all ranks have alike is added of the first only.
    """
    if file is None:
        return
    for component in components_of(file.root, file.tensors):
        shared = component.kind in _SHARED and not len(component.tensors)
        if shared and not first:
            continue
        named = component if shared else _named(component, name, kind)
        builder.add(named, file.path)


def _named(component: Component, name: str, kind: str) -> Component:
    own = component.name if not kind else ""
    # The model is saved as dicts in dicts, whose keys are in the names of the tensors.
    state = None if component.kind == "model" and _is_tensors(component.state) else component.state
    return replace(component, kind=kind or component.kind, name=":".join(filter(None, (own, name))), state=state)


def _is_tensors(state: State) -> bool:
    """Return True if a state is only tensors in dicts."""
    if isinstance(state, dict):
        return all(map(_is_tensors, state.values()))
    return isinstance(state, TensorRef)


def _not_merged(sizes: Sizes) -> Finding:
    message = (
        f"the weights are cut for {sizes.shown}: each rank's part is a component of its own, for along which dimension "
        "each tensor was cut no file says; they are not merged"
    )
    hint = "merge them with the program that wrote them (Megatron-LM: tools/checkpoint/convert.py)"
    return Finding("PT004", Severity.INFO, message, hint=hint, component="model")

"""Opens the format `deepspeed`.

A root with one tag directory, or a tag directory, is one checkpoint.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ckpt_core import (
    Asset,
    Checksum,
    Component,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Manifest,
    Presence,
    Role,
    Severity,
    StoredCheckpoint,
    TensorTable,
)
from ckpt_core.codecs import DuplicateKeyError, NotAnObjectError, parse_object, without_collection
from ckpt_fsdp.deepspeed.detection import tag_of
from ckpt_fsdp.deepspeed.experts import is_of_experts, open_experts
from ckpt_fsdp.deepspeed.latest import check_pointers, lost_pointer
from ckpt_fsdp.deepspeed.names import POINTERS, SCRIPTS, survey
from ckpt_fsdp.deepspeed.steps import check_steps
from ckpt_fsdp.deepspeed.tag_content import TagContent
from ckpt_fsdp.deepspeed.tag_opening import open_tag
from ckpt_fsdp.deepspeed.training_state import scaling_of, training_components, unpartitioned_optimizer
from ckpt_fsdp.deepspeed.universal import open_universal
from ckpt_fsdp.deepspeed.weights import trained_rows, weights
from ckpt_fsdp.deepspeed.zero.flat_groups import spaces_of
from ckpt_fsdp.deepspeed.zero.optimizer_state import optimizer

if TYPE_CHECKING:
    from ckpt_core.codecs import TorchFile

_NOT_CARRIED = (".pt", ".pth", ".bin", ".safetensors", ".index.json", ".ckpt", ".pkl", ".distcp")
"""Suffixes of weights and of training state: other checkpoints of the same step, never files to carry along."""

_ORDER = ("model", "optimizer", "scheduler", "scaler", "rng", "sampler", "progress", "config")
"""Kinds of components, as a manifest lists them."""

_CONFIG = "config.json"
_LONGEST_CONFIG = 16 << 20
_SEALS = ("ckpt.manifest.json", "ckpt.blocks")


class DeepSpeedCheckpoint(StoredCheckpoint):
    """An open tag, with its open rank files."""

    def __init__(self, files: Files, match: FormatMatch, manifest: Manifest, torches: "Sequence[TorchFile]") -> None:
        super().__init__(files, match, manifest, confirm=self._confirm_files)
        self.torches = torches
        self.checksums = self._all_checksums

    def _all_checksums(self) -> Iterator[Checksum]:
        for file in self.torches:
            yield from file.checksums()

    def _confirm_files(self) -> None:
        for file in self.torches:
            file.confirm()


def read(files: Files, match: FormatMatch, request: LoadRequest) -> DeepSpeedCheckpoint:
    """Open a checkpoint.

    The pickles of its rank files are read as data, no tensor is.

    Raises:
        CorruptError: ZE002 to ZE004, ZE014: what names the parameters is missing or no DeepSpeed file.
        UnsupportedFormatError: ZE010, parallelism of a kind that is not read here.
        UnsafeContentError: A file would run code.
        UsageError: There are several tags.
    """
    folder = tag_of(files)
    with without_collection():
        tag = survey(files)[folder]
        if tag.universal:
            components, findings, torches, step = open_universal(files, folder, tag)
        elif is_of_experts(tag):
            experts = open_experts(files, folder)
            components, findings, torches, step = experts.components, experts.findings, experts.torches, experts.step
        else:
            content = open_tag(files, folder, tag)
            components, findings = _components(files, content)
            torches, step = list(content.torches), content.model.values.number("global_steps")
    config, complaints = _model_config(files)
    components += [config] if config is not None and folder else []
    findings = [*findings, *complaints, *_noticed(torches), *check_pointers(files, folder)]
    manifest = Manifest(
        _in_order(components),
        assets=tuple(_assets(files, folder)),
        findings=tuple(findings),
        roles=(
            *_lost(findings),
            *_uncounted(step),
            *_other_ranks(components),
            *lost_pointer(files, folder, universal=tag.universal),
        ),
        step=step,
    )
    return DeepSpeedCheckpoint(files, match, manifest, torches)


def _components(files: Files, content: TagContent) -> tuple[list[Component], list[Finding]]:
    findings = list(content.findings)
    name = _tag_name(files, content.folder)
    first = content.first
    if first is None:
        components, wrong = weights(content, {})
        whole, noted = unpartitioned_optimizer(content.model)
        components += [whole] if whole is not None else []
        findings += [*wrong, *noted]
    else:
        spaces, wrong = spaces_of(content)
        findings += wrong
        components, wrong = weights(content, trained_rows(spaces))
        findings += wrong
        moments, wrong = optimizer(content, spaces)
        components.append(moments)
        findings += [*wrong, *check_steps(files, content, name)]
    scaling = scaling_of(content.model) if first is None else first.values
    components += training_components(content.model, scaling, name, content.stage)
    return components, findings


def _model_config(files: Files) -> tuple[Component | None, list[Finding]]:
    """Return the model's own config, and ZE015.

    A Trainer writes it beside the tag; ZE015 where it cannot be read.
    """
    if _CONFIG not in files.entries or files.size(_CONFIG) > _LONGEST_CONFIG:
        return None, []
    try:
        return Component("config", TensorTable.of({}), parse_object(files.read(_CONFIG))), []
    except (DuplicateKeyError, NotAnObjectError) as error:
        message = f"{_CONFIG}: no JSON object ({type(error).__name__}); the weights can be read without it"
        hint = "copy it again from where the model came from"
        return None, [Finding("ZE015", Severity.WARNING, message, _CONFIG, hint=hint)]


def _uncounted(step: int | None) -> Iterator[Role]:
    """Yield a role for a save without its step.

    DeepSpeed takes `checkpoint['global_steps']`, and fails where it is not there.
    """
    if step is None:
        yield Role("progress", Presence.ABSENT, "global_steps", "DeepSpeed resumes from no save without it")


def _other_ranks(components: Iterable[Component]) -> Iterator[Role]:
    """Yield a role for the other ranks' random state.

    The first rank alone writes what the caller hands over below stage 3: the state of the others is lost.
    """
    by_label = {component.label: component.state for component in components}
    counts = by_label.get("progress")
    world, stage = (counts.get("dp_world_size"), counts.get("zero_stage")) if isinstance(counts, dict) else (None, None)
    if "rng" in by_label and isinstance(world, int) and world > 1 and isinstance(stage, int) and stage < 3:
        yield Role(
            "rng", Presence.ABSENT, note="DeepSpeed saves what rank 0 hands over, and no other rank", name="others"
        )


def _lost(findings: Iterable[Finding]) -> Iterator[Role]:
    """Yield roles for missing parts of an experts' optimizer.

    The files of these parts are missing.
    """
    for finding in findings:
        kind, _, name = (finding.component or "").partition(":")
        if finding.code == "PT009" and kind == "optimizer":
            yield Role(kind, Presence.ABSENT, note="its file is missing", name=name)


def _noticed(torches: "Iterable[TorchFile]") -> Iterator[Finding]:
    """Yield what the reader of torch files noticed.

    The attributes that stage 3 sets on flat weights are passed over: they number the tensors of the
    process that wrote them.
    """
    for file in torches:
        yield from (finding for finding in file.findings if finding.code != "TF005")


def _tag_name(files: Files, folder: str) -> str:
    return (folder or files.location.member or files.location.name).rpartition("/")[2]


def _assets(files: Files, folder: str) -> Iterator[Asset]:
    """Yield the files of a root beside its tag.

    A Trainer writes them: config and tokenizer.
    """
    for path, entry in files.entries.items() if folder else ():
        own = path in (*POINTERS, *SCRIPTS, *_SEALS) or path.startswith(f"{folder}/")
        if not own and not path.lower().endswith(_NOT_CARRIED):
            yield Asset(path, entry.size)


def _in_order(components: Iterable[Component]) -> tuple[Component, ...]:
    return tuple(sorted(components, key=lambda component: (_ORDER.index(component.kind), component.name)))

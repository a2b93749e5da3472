"""Opens the checkpoints of a place to compare them.

Each has its step, what it holds, and what tells one training run from another.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ckpt_core.errors import CkptError, ReplacedError, UnreachableError
from ckpt_core.laws.whole_weights import weights_are_whole
from ckpt_core.layouts.step_names import epoch_of_name, step_of_name, step_of_path
from ckpt_core.layouts.steps import Count, counts_of_state
from ckpt_core.manager.opening import open_match
from ckpt_core.reading.base_model.wrapper_names import strip_wrappers
from ckpt_core.schema.access import Files
from ckpt_core.schema.evidence import emptiness
from ckpt_core.schema.formats import Detection, FormatMatch
from ckpt_core.schema.locations import Candidate, Priority
from ckpt_core.schema.manifests import Manifest
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.listing import files_of

if TYPE_CHECKING:
    from ckpt_core.hookspecs import Plugins

Structure = Mapping[str, tuple[int, ...]]
"""The shape of each weight, by name without wrappers."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A checkpoint of a place.

    Attributes:
        root: Where it is, relative to the place; "" is the place itself.
        files: Its listing.
        match: The claim on it.
        step: By content, else by name; None where neither says one.
        epoch: The passes over the data, where its content says them beside the step.
        of_epochs: Whether `step` counts these, for want of another counter.
        problem: Why it cannot be opened; "" where it can.
        kinds: The components that are there.
        structure: Of its weights; empty where they are not known, as of one that is damaged.
        trainer: The format in which a training is kept; "" for weights alone.
        counters: The keys that say how far it was: two programs have none in common.
    """

    root: str
    files: Files
    match: FormatMatch
    step: int | None
    epoch: int | None = None
    of_epochs: bool = False
    problem: str = ""
    kinds: frozenset[str] = frozenset()
    structure: Structure = field(default_factory=dict, repr=False)
    trainer: str = ""
    counters: frozenset[str] = frozenset()

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.files.location.url, Priority.EXPLICIT, f"{self.match.format}, {self.shown_step}")

    @property
    def shown_step(self) -> str:
        if self.step is None:
            return "no step recorded"
        return f"{'epoch' if self.of_epochs else 'step'} {self.step}"


def trials_of(manager: "Plugins", files: Files, member: str | None) -> Iterator[Trial]:
    """Yield every checkpoint of a place, opened.

    One that several claims of equal weight are about is not opened.
    """
    detection = manager.hooks.detect_format(files=files)
    for root, claims in _claims(detection).items():
        if member is None or is_named(root, member):
            yield _trial(manager, files_of(files, claims[0]), root, claims)


def is_named(root: str, member: str) -> bool:
    """Return True if the text behind `#` means a member.

    It is the member's path, the last part of it, or a pattern of that.
    """
    name = root.rpartition("/")[2]
    return member in (root, name) or fnmatchcase(name, member)


def _claims(detection: Detection) -> dict[str, list[FormatMatch]]:
    """Return the claims that hold, by root.

    Several where they are of equal weight.
    """
    top = [detection.best] if detection.best is not None else list(detection.rivals)
    by_root: dict[str, list[FormatMatch]] = {}
    for match in (*top, *detection.members):
        by_root.setdefault(match.root, []).append(match)
    return by_root


def _trial(manager: "Plugins", files: Files, root: str, claims: Sequence[FormatMatch]) -> Trial:
    match = claims[0]
    path = root or files.location.name
    named = step_of_path(path) if match.step is None else match.step
    if len(claims) > 1:
        names = ", ".join(sorted(claim.format for claim in claims))
        return Trial(root, files, match, named, problem=f"equally claimed by {names}")
    try:
        with one_moment(files, failures_only=True):
            manifest = open_match(manager, files, replace(match, root="")).manifest
    except ReplacedError as error:
        return Trial(root, files, match, named, problem=error.message)
    except UnreachableError:
        raise
    except CkptError as error:
        return Trial(root, files, match, named, problem=error.message)
    return described(Trial(root, files, match, named), manifest)


def described(trial: Trial, manifest: Manifest) -> Trial:
    """Return a trial completed from the checkpoint's content."""
    counts = _counts(manifest)
    content = manifest.step is not None
    held = [component for component in manifest.components if not emptiness(component)]
    sound = weights_are_whole(manifest)
    trained = sound and any(component.kind == "optimizer" for component in held)
    return replace(
        trial,
        step=manifest.step if content else trial.step,
        of_epochs=bool(counts) and counts[0].of_epochs if content else _is_epoch(trial),
        epoch=next((count.value for count in counts if count.of_epochs), None),
        kinds=frozenset(component.kind for component in held),
        structure=structure_of(manifest) if sound else {},
        trainer=trial.match.format if trained else "",
        counters=frozenset(count.name for count in counts),
    )


def structure_of(manifest: Manifest) -> Structure:
    """Return the shapes of a checkpoint's weights, by name.

    The weights are the model's, else an adapter's, else an average's.
    """
    for kind in ("model", "adapter", "ema"):
        held = [component for component in manifest.components if component.kind == kind and len(component.tensors)]
        if held:
            main = [component for component in held if not component.name] or held  # a part may be named for its step
            rows = [(c.name, *row) for c in main for row in c.tensors.infos()]
            return {f"{kind}:{label}:{strip_wrappers(name)[0]}": info.shape for label, name, info in rows}
    return {}


def _counts(manifest: Manifest) -> list[Count]:
    """Return the plainly stored counters, the most reliable first."""
    states = [component.state for component in manifest.components if component.kind == "progress"]
    return [count for state in states for count in counts_of_state(state) if count.value is not None]


def _is_epoch(trial: Trial) -> bool:
    """Return True if the path's number is an epoch.

    No part of the path says a step.
    """
    parts = trial.root.split("/")
    return all(step_of_name(part) is None for part in parts) and any(epoch_of_name(part) is not None for part in parts)

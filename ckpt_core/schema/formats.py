"""Formats, and plugins' claims that a listing is of one.

The detection holds all claims and the one that won.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from ckpt_core.schema.locations import LocationKind


@dataclass(frozen=True, slots=True)
class FormatOption:
    """An option of a format, `--name` on the command line.

    Attributes:
        name: As the format's requests have it.
        help: One line.
        type: `str`, `int`, `float` or `bool`.
        reads: Whether `load` takes it: `ckpt convert` gives it to the source.
        writes: Whether `save` takes it: `ckpt convert` gives it to the destination.
    """

    name: str
    help: str
    type: type = str
    reads: bool = True
    writes: bool = True


@dataclass(frozen=True, slots=True)
class Format:
    """A way of arranging and encoding files, with one owner.

    Attributes:
        name: Short and lower-case: `safetensors`, `hf-trainer`.
        summary: One line for `ckpt formats`.
        base: The more general format that this one refines: where both claim the same files, this one wins.
        options: What its load and save can be told.
        hints: What its owner's `locate` understands; the command line makes `--name` of each, which is `--hint name=…`.
        reads: Whether `load` is implemented.
        writes: What `save` makes, a file or a directory; None where it is not implemented.
        stages: Names that its owner's `locate` knows as refs: one that is nearly typed is answered with it.
        holds: Labels of the components that `save` takes, where it takes no others: a conversion leaves the rest out,
            and says so. None where nothing goes without saying.
    """

    name: str
    summary: str
    base: str | None = None
    options: tuple[FormatOption, ...] = ()
    hints: tuple[FormatOption, ...] = ()
    reads: bool = True
    writes: LocationKind | None = None
    stages: tuple[str, ...] = ()
    holds: tuple[str, ...] | None = None


class Confidence(IntEnum):
    POSSIBLE = 1
    LIKELY = 2
    CERTAIN = 3


@dataclass(frozen=True, slots=True)
class Part:
    """A nested piece of a layout, possibly of another format.

    `root` says where it is, `component` what it holds.
    """

    root: str
    component: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class FormatMatch:
    """A format's claim on a listing.

    Attributes:
        format: Name of the format.
        confidence: How sure.
        evidence: What was seen, in words.
        root: File or directory it is about, relative to the listing's root; "" is the root itself.
        step: The training step, where names or heads tell it.
        parts: Nested pieces.
        problem: Why it cannot be read although it was recognised; None where it can.
        files: Where it is about some files of a folder alone, as rank files of one save among others: these, relative
            to the listing's root. `root` is the folder, or the first of them where the folder has other checkpoints.
    """

    format: str
    confidence: Confidence
    evidence: str
    root: str = ""
    step: int | None = None
    parts: tuple[Part, ...] = ()
    problem: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """All claims, the surest first, and the winner at the root.

    `best` is None where nothing claims the root, or where two claim it equally: then `rivals` holds those. `members`
    has the claim that holds on each checkpoint inside a container, in the order of their roots.
    """

    matches: tuple[FormatMatch, ...] = ()
    best: FormatMatch | None = None
    rivals: tuple[FormatMatch, ...] = ()
    members: tuple[FormatMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """The options and hints of a load.

    `options` are the format's own, as it declares them; `hints` narrowed the search.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, object] = field(default_factory=dict)

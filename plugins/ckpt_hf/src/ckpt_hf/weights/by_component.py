"""Reads a model and its average from one directory.

They are two components, each with its own weight files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckpt_core import CkptError, Component, Files, Finding, UnsafeContentError
from ckpt_hf.weights.selection import Selection, select
from ckpt_hf.weights.shards import Weights, read_weights


@dataclass(frozen=True, slots=True)
class ComponentWeights:
    """The chosen files of one component, and their content."""

    selection: Selection
    weights: Weights

    @property
    def findings(self) -> Iterator[Finding]:
        yield from self.selection.findings
        yield from self.weights.findings


def read_all(files: Files, variant: str | None = None) -> list[ComponentWeights]:
    """Open the weights of a directory, the model's first.

    What is wrong with them is in the result. An index without any of its files is what a directory of averaged weights
    may have kept of another save. Where the average is whole, that index is a finding: the model is absent.

    Raises:
        CorruptError: The directory holds no weights.
        UsageError: The variant is not there, or must be chosen.
    """
    chosen = select(files, variant)
    opened = [ComponentWeights(selection, read_weights(files, selection.weights)) for selection in chosen]
    if len(opened) == 2 and _is_absent(opened[0]) and not opened[1].weights.errors:
        opened[1].weights.findings += [Finding.of_error(error) for error in opened[0].weights.errors]
        return opened[1:]
    return opened


def first_error(components: Sequence[ComponentWeights]) -> CkptError | None:
    """Return the error that makes the directory unreadable.

    Unsafe content comes first; None where nothing does.
    """
    errors = [error for one in components for error in one.weights.errors]
    return min(errors, key=lambda error: not isinstance(error, UnsafeContentError), default=None)


def components_of(components: Sequence[ComponentWeights]) -> list[Component]:
    """Return a component for each, where nothing failed."""
    return [Component(one.selection.weights.component, one.weights.table(), one.weights.state()) for one in components]


def metadata_of(components: Sequence[ComponentWeights]) -> dict[str, object]:
    """Return the metadata of all weights.

    The model's counts where a key comes twice.
    """
    metadata: dict[str, object] = {}
    for one in reversed(components):
        metadata.update(one.weights.metadata)
    return metadata


def _is_absent(one: ComponentWeights) -> bool:
    errors = one.weights.errors
    return bool(errors) and not one.weights.shards and all(error.code == "HF001" for error in errors)

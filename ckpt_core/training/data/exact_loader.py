"""Rules of loaders whose samples are the same again.

They say what of a state is refused, and what may be otherwise.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ckpt_core.errors import LoadRefusedError


class ExactLoader:
    """A loader that gives the same samples again from any position.

    Attributes:
        epoch: The epoch that is being loaded, from 0.
        accumulate: Batches of which the gradients are added up before the optimizer steps.
        accumulated: Batches that were given out since the optimizer's last step.
    """

    FIXED: ClassVar[tuple[str, ...]]
    """What of a state decides which samples come: it is refused where it is otherwise here."""

    MAY_CHANGE: ClassVar[tuple[str, ...]]
    """What of a state may be otherwise here."""

    AFTER_A_CHANGE: ClassVar = (
        "no sample comes twice or is left out, and the losses are not those of an uninterrupted run"
    )

    epoch: int
    accumulate: int
    accumulated: int

    @property
    def steps(self) -> bool:
        """Return whether the optimizer steps after the last batch.

        The one that was given out last: a group is full, or the epoch ends.
        """
        return self.accumulated == 0

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch.

        Nothing is done where it is the one that is being loaded.
        """
        raise NotImplementedError

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state.

        LoadRefusedError where its data is another.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, and what that depends on."""
        raise NotImplementedError

    def where(self, state_dict: Mapping[str, Any]) -> str:
        """Return the position of a state in words."""
        raise NotImplementedError

    def refuse(self, state_dict: Mapping[str, Any]) -> None:
        """Raise the error with which `load_state_dict` would refuse a state, if any.

        Nothing is changed.
        """
        own, name = self.state_dict(), type(self).__name__
        if not isinstance(state_dict, Mapping) or state_dict.keys() != own.keys():
            raise LoadRefusedError(f"sampler: it is not the state of {_article(name)} {name}; nothing was changed")
        for key in self.FIXED:
            if state_dict[key] != own[key]:
                raise LoadRefusedError(
                    f"sampler: {key} is {own[key]!r} here and was {state_dict[key]!r}: samples would come twice or "
                    "never; give the loader what it had, or start a new run; nothing was changed"
                )

    def changes(self, state_dict: Mapping[str, Any]) -> list[str]:
        """Return, in words, the changes of a state that are let through.

        The training goes on, if not exactly.
        """
        own = self.state_dict()
        return [
            f"sampler: {key} was {state_dict[key]} and is {own[key]}; {self.AFTER_A_CHANGE}"
            for key in self.MAY_CHANGE
            if state_dict.get(key) != own[key]
        ]


def _article(name: str) -> str:
    return "an" if name[:1] in "AEIOU" else "a"

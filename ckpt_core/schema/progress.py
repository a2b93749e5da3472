"""How long work reports how far it is."""

from typing import Protocol


class Progress(Protocol):
    """What a caller passes in to be told. Any thread may call `advance`."""

    def begin(self, total: int) -> None:
        """About so many bytes will be read."""

    def advance(self, nbytes: int) -> None:
        """So many more were read."""

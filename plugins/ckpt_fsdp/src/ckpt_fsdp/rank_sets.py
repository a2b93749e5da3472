"""The files of one part by rank.

A set also knows the name that another rank's file would have.
"""

import re
from dataclasses import dataclass, field

_RANK = re.compile(r"(.*rank_?)(\d+)(.*?)")


@dataclass(slots=True)
class RankSet:
    """The files of one part, by rank.

    `template` is what a name has before and behind the rank, how many digits at least, and from where it counts; None
    for the known names.
    """

    part: str
    number: str = ""
    world: int | None = None
    paths: dict[int, str] = field(default_factory=dict)
    template: tuple[str, str, int, int] | None = None

    def name_of(self, rank: int) -> str:
        """Return the name that another rank's file would have.

        The name of a file that is there is the pattern; "" where none tells.
        """
        if self.template is not None:
            before, behind, least, start = self.template
            return f"{before}{rank + start:0{least}}{behind}"
        if _RANK.fullmatch(next(iter(self.paths.values()))) is None:
            return ""
        head, digits, tail = _RANK.fullmatch(next(iter(self.paths.values()))).groups()  # type: ignore[union-attr]
        width = len(digits) if digits.startswith("0") else 1
        return f"{head}{rank:0{width}}{tail}"

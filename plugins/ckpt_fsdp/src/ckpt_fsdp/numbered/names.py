"""Groups files whose names differ in a number."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

_OF = re.compile(r"(?P<head>.+?)(?P<number>\d{1,6})(?P<of>[-_.]?of[-_.]?)(?P<count>\d{1,6})(?P<tail>\.[a-z.]+)", re.I)
_PLAIN = re.compile(r"(?P<head>.*?)(?P<number>\d{1,6})(?P<tail>\D*\.[a-z]+)", re.I)
_COUNTER = re.compile(r"(?:step|epoch|iter|iteration|checkpoint|ckpt|it|ep|rank|expert|seed|run|fold)s?[-_=.]?$", re.I)
_OF_OTHERS = re.compile(
    r"(?:(?:model|pytorch_model|diffusion_pytorch_model|ema)(?:[.-][\w-]+?)?-\d{5,9}-of-\d{5,9}\b"
    r"|shard-\d+-model|rng_state|random_states|optimizer|scheduler|consolidated\.\d+\.pth|mp_rank|zero_pp|layer_\d+-"
    r"|custom_checkpoint|dl_state_dict|sampler|model_\d+\.safetensors|pytorch_model_\d+\.bin|.*_states\.pt)"
)
"""Files of other layouts."""


@dataclass(slots=True)
class Siblings:
    """Files of one folder whose names differ in a number.

    Attributes:
        paths: By number.
        count: How many the names say that there are; None where they do not.
        around: What stands before and behind the number in a path, and how many digits it has at least.
    """

    count: int | None
    around: tuple[str, str, int]
    paths: dict[int, str] = field(default_factory=dict)

    @property
    def start(self) -> int:
        """The first number: 0 or 1."""
        return 0 if 0 in self.paths else 1

    @property
    def missing(self) -> list[int]:
        """The numbers that are not there.

        Up to the count or to the highest that is.
        """
        last = max(self.paths) if self.count is None else self.count - 1 + self.start
        return [number for number in range(self.start, max(last, *self.paths) + 1) if number not in self.paths]

    def name_of(self, number: int) -> str:
        """Return the path of a sibling with this number."""
        before, behind, digits = self.around
        return f"{before}{number:0{digits}}{behind}"


def siblings(paths: Iterable[str]) -> list[Siblings]:
    """Return the numbered siblings among a folder's files.

    There are two or more, or one whose name says of how many.
    """
    by_name: dict[tuple[str, str, int | None], Siblings] = {}
    for path in paths:
        folder, slash, name = path.rpartition("/")
        if not name.lower().endswith(SUFFIXES) or _OF_OTHERS.match(name):
            continue
        whole = _OF.fullmatch(name)
        parts = whole or _PLAIN.fullmatch(name)
        if parts is None or (whole is None and _COUNTER.search(parts["head"])):
            continue
        count = int(whole["count"]) if whole else None
        behind = f"{whole['of']}{whole['count']}{whole['tail']}" if whole else parts["tail"]
        before = f"{folder}{slash}{parts['head']}"
        digits = len(parts["number"]) if parts["number"].startswith("0") or whole else 1
        one = by_name.setdefault((before, behind, count), Siblings(count, (before, behind, digits)))
        one.paths[int(parts["number"])] = path
    return [_sorted(one) for one in by_name.values() if _may_be_parts(one)]


def _may_be_parts(one: Siblings) -> bool:
    """Return True if the numbers can be those of parts.

    They begin with 0 or 1, and no more than half of them are missing.
    """
    if one.count is not None:
        return one.count > 1 and max(one.paths) <= one.count and one.count <= 1 << 16
    return len(one.paths) > 1 and min(one.paths) <= 1 and len(one.missing) <= len(one.paths)


def _sorted(one: Siblings) -> Siblings:
    one.paths = dict(sorted(one.paths.items()))
    return one

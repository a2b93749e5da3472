"""Installed plugins, found by reading `entry_points.txt` of each distribution on the path.

importlib.metadata would do, and costs as much as the rest of a start together. The current folder is never searched:
a plugin there was not installed by anybody.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckpt_core.hookspecs import ENTRY_POINT_GROUP

_REQUIREMENT = re.compile(
    r"^Requires-Dist:\s*ckpt[-_.]core(?![-_.\w])\s*(?:\[[^\]]*\])?([^;]*)(;.*extra\b)?", re.IGNORECASE
)
_CLAUSE = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*([0-9][0-9.]*)(\*?)")


class EntryPoint(NamedTuple):
    """A plugin by name: the module to import, and the distribution it came with.

    `origin` is the folder of its `dist-info`; `attribute` what to register, the module itself where it is empty.
    """

    name: str
    module: str
    attribute: str
    distribution: str
    version: str
    origin: str


def find_entry_points(path: Sequence[str] | None = None) -> list[EntryPoint]:
    """Every installed plugin, by name; of a distribution that comes twice the first on the path counts."""
    seen: set[str] = set()
    found: list[EntryPoint] = []
    for folder in sys.path if path is None else path:
        for info in _dist_infos(folder):
            distribution, _, version = os.path.basename(info).removesuffix(".dist-info").rpartition("-")
            key = re.sub(r"[-_.]+", "-", distribution).lower()
            if key in seen:
                continue
            seen.add(key)
            found.extend(_entry_points_of(info, distribution.replace("_", "-"), version))
    return sorted(found, key=lambda point: (point.name, point.distribution))


def _dist_infos(folder: str) -> list[str]:
    if not folder or os.path.realpath(folder) == _cwd():
        return []
    try:
        # pip renames what it is about to remove to ~NAME; after an interruption it is still there.
        names = sorted(name for name in os.listdir(folder) if name.endswith(".dist-info") and name[0] != "~")
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names]


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _entry_points_of(info: str, distribution: str, version: str) -> Iterator[EntryPoint]:
    try:
        with open(os.path.join(info, "entry_points.txt"), encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError):
        return
    if ENTRY_POINT_GROUP not in text:
        return
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == ENTRY_POINT_GROUP and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            module, _, attribute = value.partition("[")[0].partition(":")
            yield EntryPoint(name.strip(), module.strip(), attribute.strip(), distribution, version, info)


def unmet_requirement(point: EntryPoint, core_version: str) -> str | None:
    """What the plugin asks of ckpt-core that this version is not, as `>=0.9`; None where all is met."""
    try:
        with open(os.path.join(point.origin, "METADATA"), encoding="utf-8", errors="replace") as file:
            header = file.read(1 << 20).partition("\n\n")[0]
    except OSError:
        return None
    have = _numbers(core_version)
    for found in filter(None, map(_REQUIREMENT.match, header.splitlines())):
        for operator, wanted, star in [] if found[2] else _CLAUSE.findall(found[1]):
            if not _meets(have, operator, _numbers(wanted), prefix=bool(star)):
                return f"{operator}{wanted}{star}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    numbers = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def _meets(have: tuple[int, ...], operator: str, wanted: tuple[int, ...], *, prefix: bool) -> bool:
    width = len(wanted) if prefix else max(len(have), len(wanted))
    mine, other = ((numbers + (0,) * width)[: max(width, 1)] for numbers in (have, wanted))
    match operator:
        case ">=":
            return mine >= other
        case "<=":
            return mine <= other
        case ">":
            return mine > other
        case "<":
            return mine < other
        case "!=":
            return mine != other
        case "~=":
            return mine >= other and have[: len(wanted) - 1] == wanted[:-1]
    return mine == other

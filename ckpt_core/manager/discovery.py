"""Finds installed plugins by reading each distribution's `entry_points.txt`.

importlib.metadata would do, and costs as much as the rest of a start together. The current folder is never searched: a
plugin there was not installed by anybody.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckpt_core.hookspecs import ENTRY_POINT_GROUP

_REQUIREMENT = re.compile(r"^Requires-Dist:\s*(ckpt[-_.]core(?![-_.\w]).*)", re.IGNORECASE)


class EntryPoint(NamedTuple):
    """A plugin's name, the module to import, and its distribution.

    `origin` is the folder of its `dist-info`; `attribute` what to register, the module itself where it is empty.
    """

    name: str
    module: str
    attribute: str
    distribution: str
    version: str
    origin: str


def find_entry_points(path: Sequence[str] | None = None) -> list[EntryPoint]:
    """Return every installed plugin, sorted by name.

    The first on the path counts of a distribution that comes twice.
    """
    seen: set[str] = set()
    points: list[EntryPoint] = []
    for folder in sys.path if path is None else path:
        for info in _dist_infos(folder):
            distribution, _, version = os.path.basename(info).removesuffix(".dist-info").rpartition("-")
            key = re.sub(r"[-_.]+", "-", distribution).lower()
            if key in seen:
                continue
            seen.add(key)
            points.extend(_entry_points_of(info, distribution.replace("_", "-"), version))
    return sorted(points, key=lambda point: (point.name, point.distribution))


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
    """Return a plugin's requirement on ckpt-core that isn't met.

    An example is `>=0.9`; None where all is met.

    Args:
        point: The plugin.
        core_version: The version of ckpt-core that is here.
    """
    try:
        with open(os.path.join(point.origin, "METADATA"), encoding="utf-8", errors="replace") as file:
            header = file.read(1 << 20).partition("\n\n")[0]
    except OSError:
        return None
    asked = [match[1].strip() for match in map(_REQUIREMENT.match, header.splitlines()) if match]
    return next((unmet for text in asked if (unmet := _unmet(text, core_version)) is not None), None)


def _unmet(text: str, core_version: str) -> str | None:
    """Return the unmet part of a requirement on ckpt-core.

    The rules are PEP 440 and PEP 508; the result is None where all is met.
    """
    if text[len("ckpt-core") :].replace(" ", "") in _usual(core_version):
        return None  # packaging takes as long to import as the rest of discovery
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f" by a requirement that cannot be read ({text})"
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    unmet = [str(one) for one in requirement.specifier if not one.contains(core_version, prereleases=True)]
    return min(unmet, default=None)


def _usual(core_version: str) -> tuple[str, ...]:
    """Return the requirements that most plugins state.

    They ask for nothing, or for any release of this series, in both orders.
    """
    numbers = re.match(r"(\d+)\.(\d+)\.", core_version)
    if numbers is None:
        return ("",)
    least, most = f">={numbers[1]}.{numbers[2]}", f"<{numbers[1]}.{int(numbers[2]) + 1}"
    return "", f"{least},{most}", f"{most},{least}"

"""`wandb://` as a destination of save, convert and copy.

Files are staged on a disk, then uploaded as one version.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpt_core import UsageError, printable
from ckpt_wandb.about import about
from ckpt_wandb.refs import SCHEME, ArtifactRef, parse
from ckpt_wandb.uploading import Upload, publish

_NO_ALIAS = re.compile(r"[/:]|^v\d+$")


def destination_of(url: str, *, is_file: bool) -> tuple[ArtifactRef, tuple[str, ...]]:
    """Return a destination URL's artifact, and its alias.

    The alias is the one that its version shall have.

    Raises:
        UsageError: It names no artifact, or a version, or no name for the one file that is written.
    """
    asked = parse(url)
    given = (asked.alias,) if ":" in url.removeprefix(SCHEME).split("/")[2] else ()
    place = f"{SCHEME}{asked.entity}/{asked.project}/{asked.name}"
    if given and asked.is_pinned:
        raise UsageError(f"{printable(url)}: a version never changes, and W&B numbers them; give {place}")
    if is_file and not asked.path:
        raise UsageError(f"{printable(url)}: a file needs a name in the artifact; give {place}/NAME")
    return asked, tuple(alias for alias in given if alias != "latest")


def staging_of(url: str, *, is_file: bool) -> str:
    """Make and return the folder for what goes to a URL.

    It is staged below `WANDB_DATA_DIR`, as the client's own staging is.
    """
    asked, _ = destination_of(url, is_file=is_file)
    place = f"{asked.entity}/{asked.project}/{asked.name}/{asked.path}"
    root = os.environ.get("WANDB_DATA_DIR") or os.path.join(_data_home(), "wandb")
    folder = Path(root, "ckpt-uploads", hashlib.sha256(place.encode()).hexdigest()[:16]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def check_aliases(url: str, aliases: Sequence[str]) -> None:
    """Refuse what W&B takes for no alias.

    Raises:
        UsageError: One is empty, has a `/` or `:`, or is that of a version.
    """
    for alias in aliases:
        if not alias or _NO_ALIAS.search(alias):
            raise UsageError(
                f"{printable(url)}: {printable(repr(alias), 60)} is no alias; give a word without / and :, and not "
                "vN, which W&B numbers versions by; nothing was written"
            )


def publish_files(url: str, files: Mapping[str, str], *, is_file: bool, aliases: Sequence[str] = ()) -> dict[str, Any]:
    """Make a version of files that are staged.

    See `Publisher.publish` of the core.
    """
    asked, given = destination_of(url, is_file=is_file)
    inside = asked.path.rpartition("/")[0] if is_file else asked.path
    prefix = f"{inside}/" if inside else ""
    named = {f"{prefix}{path}": Path(own) for path, own in files.items()}
    root = os.path.commonpath([os.path.dirname(own) for own in files.values()])
    done = publish(named, asked, aliases=(*given, *aliases), metadata=about(root))
    pinned = done.ref or f"{SCHEME}{asked.entity}/{asked.project}/{asked.name}"
    where = f"/{asked.path}" if asked.path else ""
    return {"url": f"{pinned}{where}", "is_new": done.is_new, "note": said(done)}


def said(done: Upload) -> str:
    """Return an upload's outcome for the user, in one line."""
    if done.ref is None:
        return f"W&B is offline: nothing was uploaded yet; wandb sync {done.record} uploads it"
    version = done.ref.rpartition(":")[2]
    aliases = ", ".join(done.aliases)
    if not done.is_new:
        return f"no new version: {version} has just this content; it is {aliases} now"
    return f"version {version} is {aliases} now; its manifest was read back and compared"


def _data_home() -> str:
    return os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")

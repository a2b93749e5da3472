"""Debris: leftovers beside checkpoints that no loader reads.

They are told from the path alone, by the program that writes such names.

Only names that a known program gives count. A folder `checkpoint-3.tmp` may be anybody's, and a conflict copy of
Dropbox or Syncthing holds a whole file: both are judged like everything else.
"""

import re
from functools import cache, lru_cache

_WEIGHTS = r"(?:bin|ckpt|distcp|json|npy|npz|pkl|pt|pth|safetensors)"

UNFINISHED = "an unfinished download"
MAC = "AppleDouble, what macOS keeps beside a file on foreign disks"
EDITOR = "an editor's backup or swap file"
WRITER = "what a writer had not finished"

_NAMES = (
    (r"\._.+", MAC),
    (r"\.DS_Store|\.localized|Icon\r", "a folder's settings of macOS"),
    (r"Thumbs\.db|ehthumbs\.db|desktop\.ini", "a folder's settings of Windows"),
    (r"\.nfs[0-9a-fA-F]+", "a file that NFS keeps until its last reader closes it"),
    (r"\.fuse_hidden[0-9a-fA-F]+", "a file that FUSE keeps until its last reader closes it"),
    (r".+\.aria2(?:__temp)?", f"{UNFINISHED}: what aria2 keeps until it is done"),
    (r".+\.(?:part|partial|filepart|crdownload|download|opdownload|incomplete)", UNFINISHED),
    (r"\..+\.(?=[^.]*[A-Z0-9])[A-Za-z0-9]{6}", f"{UNFINISHED} of rsync"),
    (r"\..+\.icloud", "a placeholder of iCloud for a file that is not on this disk"),
    (r"\.syncthing\..+\.tmp|~syncthing~.+\.tmp", f"{UNFINISHED} of Syncthing"),
    (r".+~|\..+\.sw[a-p]|\.#.+|#.+#", EDITOR),
    (rf".+\.{_WEIGHTS}\.tmp", WRITER),
)
"""Names of files. What a stopped `dcp.save` leaves, `.metadata.tmp`, is not among them: it may be whole, and used.

Sources: the manuals of aria2, curl, rsync (`.NAME.XXXXXX`, as mkstemp), Vim and Emacs; the kernel's
`fs/nfs/unlink.c`; browsers; huggingface_hub, `_local_folder.py`."""

_FOLDERS = (
    (r"__MACOSX", MAC),
    (r"lost\+found", "what a check of the disk found without a name"),
    (r"\.ipynb_checkpoints", "copies of notebooks that Jupyter keeps"),
    (r"\.Trash-\d+|\.Trashes|\.Spotlight-V100|\.fseventsd", "a folder of the desktop"),
    (r"\.stversions|\.stfolder", "a folder of Syncthing"),
    (r"tmp-checkpoint-\d+|tmp_checkpoint", f"{WRITER}, a trainer's checkpoint under way"),
    (r"[^/]+\.orbax-checkpoint-tmp(?:-\d+)?", f"{WRITER}, an Orbax checkpoint under way"),
    (r"\.cache/huggingface/(?:download|upload)", "what huggingface_hub keeps of its downloads"),
)
"""Names of folders. Sources: transformers before 4.41, `trainer.py` (`tmp-checkpoint-N`); orbax, `atomicity.py`."""


def debris(path: str) -> tuple[str, str] | None:
    """Return the debris that contains a file, with its description.

    None for any other file. Of a folder of debris, the folder's own path is returned, for all that is in it.
    """
    folder, _, name = path.rpartition("/")
    enclosing = debris_folder(folder)
    if enclosing is not None:
        return enclosing
    matched = _pattern(_NAMES).fullmatch(name)
    return None if matched is None else (path, _what(matched, _NAMES))


@lru_cache(maxsize=1024)
def debris_folder(path: str) -> tuple[str, str] | None:
    """Return the debris that contains a folder, as `debris` does.

    The path "" is the root, which is never debris.
    """
    matched = _pattern(_FOLDERS).search(f"/{path}/")
    return None if matched is None else (path[: matched.end() - 1], _what(matched, _FOLDERS))


def _what(matched: re.Match[str], table: tuple[tuple[str, str], ...]) -> str:
    assert matched.lastindex is not None
    return table[matched.lastindex - 1][1]


@cache
def _pattern(table: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """Return one pattern that matches every name of a table.

    It looks through a listing of 20,000 files in milliseconds.
    """
    names = "|".join(f"({name})" for name, _ in table)
    return re.compile(names if table is _NAMES else rf"(?<=/)(?:{names})(?=/)")

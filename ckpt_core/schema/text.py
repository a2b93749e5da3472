"""Text made safe to show.

Names from files and people are escaped, cut to length, and freed of secrets.
"""

import re
from collections.abc import Iterable

_LONGEST_URL = 8192
_USERINFO = re.compile(r"://[^/?#]*@")
_NO_PORT = re.compile(r"://[^/?#\[:]*:(?!\d*(?:[/?#]|$))")
"""A host and what cannot be its port: the start of a user and password that nobody encoded."""

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


def redact(url: str) -> str:
    """Return a URL without user, password and query.

    Those may hold secrets.
    """
    if "://" not in url:
        return printable(url)
    shown = _USERINFO.sub("://", url[:_LONGEST_URL]).partition("?")[0]
    if len(url) > _LONGEST_URL or _NO_PORT.search(shown):
        return printable(f"{url.partition('://')[0]}://…")
    return printable(shown)


def scrub(message: str) -> str:
    """Return another program's message on one line, without secrets.

    The secrets are those of the URLs in it.
    """
    return printable(" ".join(_URL.sub(lambda match: redact(match[0]), message).split()), 500)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return `did you mean NAME?` for a mistyped word.

    NAME is the nearest known name; None where none is near.
    """
    from difflib import get_close_matches

    plain = {name.lower().replace("_", "-"): name for name in known}
    nearest = get_close_matches(word.lower().replace("_", "-"), plain, 1, 0.7)
    return f"did you mean {printable(plain[nearest[0]])}?" if nearest else None


def printable(text: str, limit: int = 240) -> str:
    """Return text in a form that fits on one line.

    Control and direction characters are escaped, and long texts are cut.
    """
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[: limit * 2]
    )
    return shown if len(shown) <= limit and len(text) <= limit * 2 else f"{shown[: limit - 1]}…"


def human_bytes(count: int) -> str:
    """Return a size such as `86.6 MiB`.

    A size below a KiB is in whole bytes.
    """
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in _UNITS:
        size /= 1024
        if size < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}"

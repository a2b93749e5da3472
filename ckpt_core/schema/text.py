"""Names from files and people, made fit to show: escaped, cut to length, without secrets."""

import re

_LONGEST_URL = 8192
_USERINFO = re.compile(r"://(?:[^/?#]*@|[^/?#@\[:]*:(?!\d*(?:[/?#]|$)).*@)", re.DOTALL)
"""What stands before the host. The second case is a password that nobody encoded: what follows the colon is no port."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def redact(url: str) -> str:
    """The URL without user, password and query, which may hold secrets."""
    if "://" not in url:
        return printable(url)
    if len(url) > _LONGEST_URL:
        return printable(f"{url[: url.index('://')]}://…")
    return printable(_USERINFO.sub("://", url).partition("?")[0])


def scrub(message: str) -> str:
    """What other software said, on one line and without the secrets of the URLs in it."""
    return printable(" ".join(_URL.sub(lambda found: redact(found[0]), message).split()), 500)


def printable(text: str, limit: int = 240) -> str:
    """Text from a file or a person, fit for one line: control and direction characters escaped, long ones cut."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[: limit * 2]
    )
    return shown if len(shown) <= limit and len(text) <= limit * 2 else f"{shown[: limit - 1]}…"

"""Names from files and people, made fit to show: escaped, cut to length, without secrets."""


def redact(url: str) -> str:
    """The URL without user, password and query, which may hold secrets."""
    if "://" not in url:
        return printable(url)
    head, _, rest = url.partition("://")
    rest = rest.partition("?")[0]
    place, slash, path = rest.partition("/")
    return printable(f"{head}://{place.rpartition('@')[2]}{slash}{path}")


def printable(text: str, limit: int = 240) -> str:
    """Text from a file or a person, fit for one line: control and direction characters escaped, long ones cut."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text[: limit * 2])
    return shown if len(shown) <= limit and len(text) <= limit * 2 else f"{shown[: limit - 1]}…"

"""Prints lines on a terminal, wrapped and in colour.

They are wrapped at words where it is narrow; the word of a severity is in colour.
"""

import os
import re
import sys
from typing import TextIO

_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m"}
_PLAIN = "\x1b[0m"
_SEVERITY = r"(?P<before>(?:ckpt: |\s*[A-Z]{2}\d{3} )?)(?P<word>error|warning)(?=[ :]|$)"


def fitted(line: str, stream: TextIO) -> str:
    """Return a line as a stream shows it.

    It is changed for a terminal alone.
    """
    if not stream.isatty():
        return line
    from shutil import get_terminal_size

    width = get_terminal_size().columns
    return _coloured(_wrapped(line, width) if len(line) > width else line)


def tell(text: str) -> None:
    """Print one line on stderr; it is lost where stderr is closed."""
    try:
        print(fitted(f"ckpt: {text}", sys.stderr), file=sys.stderr, flush=True)
    except OSError:
        pass  # there is nobody left to tell


def _wrapped(line: str, width: int) -> str:
    """Wrap a line at words alone.

    A path or a name that is cut in two can be neither read nor copied.
    """
    from textwrap import wrap

    indent = line[: len(line) - len(line.lstrip())]
    return "\n".join(wrap(line, width, subsequent_indent=f"{indent}  ", break_long_words=False, break_on_hyphens=False))


def _coloured(line: str) -> str:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return line
    severity = re.match(_SEVERITY, line)
    if severity is None:
        return line
    return f"{severity['before']}{_COLOURS[severity['word']]}{severity['word']}{_PLAIN}{line[severity.end() :]}"

"""A guard around every hook of a plugin: it materialises generators, catches crashes, and writes down who failed.

A crash in `locate` or `detect_format` costs that plugin's answer; in `verify` it becomes an ERROR finding, since what
was not checked must not pass; in `load` and `save` it becomes a PluginError. An error of ours (CkptError) is an answer
about the checkpoint, not a crash, and goes on as it is, out of `load` and `save`.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from ckpt_core.errors import CkptError, PluginError
from ckpt_core.schema.findings import Finding, Severity

_log = logging.getLogger(__name__)


class Failures:
    """What went wrong in which plugin since the start, in order."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []

    def add(self, plugin: str, hook: str, error: BaseException) -> None:
        line = f"{hook} failed: {type(error).__name__}: {error}"
        _log.warning("plugin %s: %s", plugin, line)
        self._lines.append((plugin, line))

    def of(self, plugin: str) -> list[str]:
        return list(dict.fromkeys(line for name, line in self._lines if name == plugin))

    def plugins(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._lines))


def guarded(function: Callable[..., Any], *, plugin: str, hook: str, failures: Failures) -> Callable[..., Any]:
    """The hook implementation, guarded. Its signature stays, since pluggy passes arguments by name."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            answer = function(*args, **kwargs)
            if hook in ("load", "save", "formats") or answer is None:
                return answer
            return list(answer)
        except CkptError as error:
            if hook in ("load", "save"):
                raise
            if hook == "verify":
                return [Finding.of_error(error)]
            return _lost(plugin, hook, failures, error)
        except (Exception, SystemExit) as error:
            if hook in ("load", "save"):
                raise PluginError(
                    f"plugin {plugin}: {hook} failed ({type(error).__name__}: {error}); run ckpt plugins, or --debug"
                ) from error
            return _lost(plugin, hook, failures, error)

    return call


def _lost(plugin: str, hook: str, failures: Failures, error: BaseException) -> Any:
    failures.add(plugin, hook, error)
    if hook == "verify":
        message = f"plugin {plugin} could not verify ({type(error).__name__}: {error}); what it checks was not checked"
        return [Finding("PL001", Severity.ERROR, message, hint="run ckpt plugins")]
    return None

"""A guard around every hook of a plugin: it materialises generators, catches crashes, and writes down who failed.

A crash in `locate` or `detect_format` costs that plugin's answer; in `verify` it becomes an ERROR finding, since what
was not checked must not pass; in `load` and `save` it becomes a PluginError. An error of ours (CkptError) is an answer
about the checkpoint, not a crash, and comes out of `load` and `save` as it is; so does a UsageError out of `locate`,
where the question itself is wrong. Only the owner of a format may answer `load` and `save` for it.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ckpt_core.errors import CkptError, PluginError, UsageError
from ckpt_core.schema.findings import Finding, Severity

_log = logging.getLogger(__name__)
_OWNED = ("load", "save")


class Failures:
    """What went wrong in which plugin since the start, in order."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []

    def add(self, plugin: str, hook: str, error: BaseException) -> None:
        line = f"{hook} failed: {type(error).__name__}: {error}"
        _log.info("plugin %s: %s", plugin, line)
        self._lines.append((plugin, line))

    def of(self, plugin: str) -> list[str]:
        """Each failure of a plugin once, as one line."""
        return list(dict.fromkeys(line for name, line in self._lines if name == plugin))

    def plugins(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._lines))


def guarded(
    function: Callable[..., Any],
    *,
    plugin: str,
    hook: str,
    takes: tuple[str, ...],
    given: tuple[str, ...],
    failures: Failures,
    owner: Callable[[str], str | None],
) -> Callable[..., Any]:
    """A hook implementation that takes all that its specification gives.

    Args:
        function: The implementation.
        plugin: The name of its plugin.
        hook: The name of the hook.
        takes: The parameters the implementation has.
        given: The parameters the specification has; the result is called with these, by position.
        failures: Where crashes are written down.
        owner: Tells the plugin that owns a format.
    """

    def call(*values: Any) -> Any:
        arguments = dict(zip(given, values, strict=True))
        if hook in _OWNED and owner(_format_of(arguments)) != plugin:
            return None
        try:
            answer = function(*(arguments[name] for name in takes))
            if hook in _OWNED or answer is None:
                return answer
            return list(answer)
        except CkptError as error:
            if hook in _OWNED or (hook == "locate" and isinstance(error, UsageError)):
                raise
            return [Finding.of_error(error)] if hook == "verify" else _lost(plugin, hook, failures, error)
        except (Exception, SystemExit) as error:
            if hook in _OWNED:
                failures.add(plugin, hook, error)
                raise PluginError(
                    f"plugin {plugin}: {hook} failed ({type(error).__name__}: {error}); see ckpt plugins, or use --debug"
                ) from error
            return _lost(plugin, hook, failures, error)

    return call


def _format_of(arguments: Mapping[str, Any]) -> str:
    return str(arguments["match"].format if "match" in arguments else arguments["target"].format)


def _lost(plugin: str, hook: str, failures: Failures, error: BaseException) -> Any:
    failures.add(plugin, hook, error)
    if hook == "verify":
        message = f"plugin {plugin} could not verify ({type(error).__name__}: {error}); what it checks was not checked"
        return [Finding("PL001", Severity.ERROR, message, hint="run ckpt plugins")]
    return None

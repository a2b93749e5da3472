"""A guard around every hook implementation of a plugin.

It materialises generators, catches crashes, and writes down who failed.

A crash in `locate` or `detect_format` costs that plugin's answer; in `verify` it becomes an ERROR finding, since what
was not checked must not pass; in `load` and `save` it becomes a PluginError. An error of ours (CkptError) is an answer
about the checkpoint, not a crash, and comes out of `load` and `save` as it is; so does a UsageError out of `locate`,
where the question itself is wrong, and a CheckpointNotFoundError, where whoever knows the place says what is missing.
Only the owner of a format may answer `load` and `save` for it.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import CheckpointNotFoundError, CkptError, NoAnswerError, PluginError, ReplacedError, UsageError
from ckpt_core.log import Logger
from ckpt_core.schema.locations import Candidate
from ckpt_core.schema.text import scrub

if TYPE_CHECKING:
    from ckpt_core.schema.findings import Finding

_log = Logger(__name__)
_OWNED = ("load", "save")
_ANSWERS = {
    "formats": ("formats:Format",),
    "locate": ("locations:Candidate",),
    "detect_format": ("formats:FormatMatch",),
    "load": ("access:Checkpoint",),
    "save": ("manifests:Manifest",),
    "verify": ("findings:Finding",),
    "repair": ("repairs:RepairAction", "repairs:Irreparable"),
}
"""The classes that each hook answers with, by module of `schema`: imported when one answers, since few commands do."""


class Failures:
    """The failures of plugins since the start, in order."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, plugin: str, hook: str, error: BaseException) -> None:
        line = f"{hook} failed: {described(error)}"
        _log.info("plugin %s: %s", plugin, line)
        self._lines.append((plugin, line))

    def of(self, plugin: str) -> list[str]:
        """Return each failure of a plugin once, as one line."""
        return list(dict.fromkeys(line for name, line in self._lines if name == plugin))

    def since(self, count: int) -> list[str]:
        """Return the failures after the first `count`, each once.

        Each line names the plugin and its failure.
        """
        return list(dict.fromkeys(f"plugin {name}: {line}" for name, line in self._lines[count:]))

    def plugins(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._lines))


def described(error: BaseException) -> str:
    """Return a plugin's error on one line.

    It has the error's class and its message, without the secrets of a URL.
    """
    return scrub(f"{type(error).__name__}: {error}")


def checked_answers(hook: str, answers: Any) -> Iterable[Any]:
    """Yield the answers of a hook, one by one.

    TypeError at the first that is not of the hook's type.
    """
    for answer in answers or ():
        _check_type(hook, answer)
        yield answer


def guarded(
    function: Callable[..., Any],
    *,
    plugin: str,
    hook: str,
    takes: tuple[str, ...],
    optional: tuple[str, ...],
    given: tuple[str, ...],
    failures: Failures,
    owner: Callable[[str], str | None],
) -> Callable[..., Any]:
    """Return a guarded hook implementation with all the specification's parameters.

    Args:
        function: The implementation.
        plugin: The name of its plugin.
        hook: The name of the hook.
        takes: The parameters the implementation has.
        optional: Those of the specification's that it has with a default.
        given: The parameters the specification has; the result is called with these, by position.
        failures: Where crashes are written down.
        owner: Tells the plugin that owns a format.
    """

    def ask(arguments: Mapping[str, Any]) -> Any:
        return function(*(arguments[name] for name in takes), **{name: arguments[name] for name in optional})

    def collect(*values: Any) -> list[Any]:
        answered: list[Any] = []
        try:
            for answer in checked_answers(hook, ask(dict(zip(given, values, strict=True)))):
                answered.append(answer)
        except (Exception, SystemExit) as error:
            if hook == "locate" and isinstance(error, (UsageError, CheckpointNotFoundError)):
                raise
            if isinstance(error, (NoAnswerError, ReplacedError)):
                raise  # of the place, not of the plugin, and true for every other one
            if hook == "verify":
                return [*answered, _unverified(plugin, failures, error)]
            failures.add(plugin, hook, error)
            return []
        return answered

    def own(*values: Any) -> Any:
        arguments = dict(zip(given, values, strict=True))
        if owner(_format_of(arguments)) != plugin:
            return None
        try:
            answer = ask(arguments)
            if answer is not None:
                _check_type(hook, answer)
            return answer
        except CkptError:
            raise
        except (Exception, SystemExit) as error:
            failures.add(plugin, hook, error)
            raise _crash(plugin, hook, error) from error

    return own if hook in _OWNED else collect


def guarded_wrapper(
    function: Callable[..., Any], *, plugin: str, hook: str
) -> Callable[..., Generator[None, Any, Any]]:
    """Return a hook wrapper whose crash names its plugin.

    A wrapper stands around every answer, so that after a crash there is none to go on with.
    """

    def wrap(*values: Any, **more: Any) -> Generator[None, Any, Any]:
        try:
            return (yield from function(*values, **more))
        except CkptError:
            raise
        except (Exception, SystemExit) as error:
            raise _crash(plugin, hook, error) from error

    return wrap


def _check_type(hook: str, answer: Any) -> None:
    allowed = tuple(map(_class, _ANSWERS[hook]))
    if not isinstance(answer, allowed):
        names = " or ".join(one.__name__ for one in allowed)
        raise TypeError(f"answered with {type(answer).__name__} where {names} belongs")
    if isinstance(answer, Candidate) and not isinstance(answer.url, str):
        raise TypeError(f"the url of a Candidate is {type(answer.url).__name__}, not str")


def _class(place: str) -> type:
    module, _, name = place.partition(":")
    cls: type = getattr(import_module(f"ckpt_core.schema.{module}"), name)
    return cls


def _format_of(arguments: Mapping[str, Any]) -> str:
    return str(arguments["match"].format if "match" in arguments else arguments["target"].format)


def _crash(plugin: str, hook: str, error: BaseException) -> PluginError:
    return PluginError(f"plugin {plugin}: {hook} failed ({described(error)}); see ckpt plugins")


def _unverified(plugin: str, failures: Failures, error: BaseException) -> "Finding":
    from ckpt_core.schema.findings import Finding, Severity

    if isinstance(error, CkptError):
        return Finding.of_error(error)
    failures.add(plugin, "verify", error)
    message = f"plugin {plugin} could not verify ({described(error)}); what it checks was not checked"
    return Finding("PL001", Severity.ERROR, message, hint="run ckpt plugins")

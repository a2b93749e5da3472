"""Checks the arguments of public functions before anything is done.

A wrong one is one clear UsageError.

Arguments of one name mean the same in every verb, so that one table says what each may be.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, TypeVar

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.schema.kinds import KINDS
from ckpt_core.schema.text import printable

P = ParamSpec("P")
R = TypeVar("R")


class Rule(NamedTuple):
    """The values an argument may have, as test and in words."""

    holds: Callable[[Any], bool]
    needed: str


def checked(**own: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that checks a function's arguments.

    They are checked by the table, and by rules of the function's own.

    `storage_options` are given to the clients of stores while the function runs.

    Raises (the decorated function):
        UsageError: An argument is not what it may be; nothing was done.
    """

    rules = {**RULES, **own}

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            check_arguments({**dict(zip(names, args, strict=False)), **kwargs}, rules)
            options: Any = kwargs.get("storage_options")
            if options is None:
                return function(*args, **kwargs)
            from ckpt_core.storage.remote.options import storage_options

            with storage_options(options):
                return function(*args, **kwargs)

        return call

    return decorate


def check_arguments(given: Mapping[str, Any], rules: Mapping[str, Rule] | None = None) -> None:
    """Compare arguments with the table, or with other rules.

    UsageError for the first that is not what it may be.
    """
    for name, value in given.items():
        rule = (RULES if rules is None else rules).get(name)
        if rule is not None and not rule.holds(value):
            shown = f"a {type(value).__name__}" if name == "storage_options" else _shown(value)  # it may hold secrets
            raise UsageError(f"{argument(name)}: {rule.needed} is needed, not {shown}")


def _shown(value: Any) -> str:
    return f"{printable(repr(value), 80)} ({type(value).__name__})"


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: value is None or isinstance(value, kinds)


def _is_keyed(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(isinstance(key, str) for key in value))


def _is_named(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, Iterable)
        and not isinstance(value, bytes | bytearray | Mapping)
        and not hasattr(value, "__next__")
        and all(isinstance(name, str) for name in value)
    )


def _is_of_kinds(value: Any) -> bool:
    return _is_named(value) and all(kind in KINDS for kind in ([value] if isinstance(value, str) else value))


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _is_sampling(value: Any) -> bool:
    if value is None:
        return True
    from ckpt_core.schema.verification import Sampling

    return isinstance(value, Sampling)


def _is_ranks(value: Any) -> bool:
    from ckpt_core.storage.ranks.ranks import Ranks

    return isinstance(value, Ranks)


def _has(*methods: str) -> Callable[[Any], bool]:
    return lambda value: all(callable(getattr(value, method, None)) for method in methods)


SWITCH = Rule(lambda value: isinstance(value, bool), "True or False")
TEXT = Rule(_is(str), "a str, or None")
NAMES = Rule(_is_named, "a name, or a sequence of names,")
KEYED = Rule(_is_keyed, "a mapping by name, or None,")

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("accept_damage", "accept_loss", "apply", "atomic", "dry_run", "extract", "force"), SWITCH),
    **dict.fromkeys(("in_place", "resume", "sha256"), SWITCH),
    **dict.fromkeys(("component", "format", "models", "to"), TEXT),
    **dict.fromkeys(("components", "exclude", "include", "optional", "rename"), NAMES),
    **dict.fromkeys(("env", "hints", "options", "provenance", "storage_options"), KEYED),
    "allow_unexpected": Rule(lambda value: isinstance(value, bool) or _is_named(value), "True, False, or globs,"),
    "manager": Rule(_is(CkptPluginManager), "a CkptPluginManager, or None,"),
    "max_memory": Rule(_is_count, "a number of bytes, or None,"),
    "min_coverage": Rule(_is_share, "a number from 0 to 1"),
    "module": Rule(_has("state_dict", "named_parameters"), "a torch.nn.Module"),
    "progress": Rule(lambda value: value is None or _has("begin", "advance")(value), "begin() and advance(), or None,"),
    "ranks": Rule(_is_ranks, "what torchrun_ranks gives"),
    "sampling": Rule(_is_sampling, "a Sampling, or None,"),
    "without": Rule(_is_of_kinds, f"kinds of components ({', '.join(KINDS)})"),
}

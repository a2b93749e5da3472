"""`rule`: a test's rule, in words.

A failure and the scorecard name it.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Test = Callable[Concatenate[T, P], None]


def rule(words: str) -> Callable[[Test[T, P]], Test[T, P]]:
    """Mark a test with its rule.

    Its failure then says the rule, the format and the plugin's module.
    """

    def marked(test: Test[T, P]) -> Test[T, P]:
        @wraps(test)
        def run(kit: T, /, *args: P.args, **kwargs: P.kwargs) -> None:
            __tracebackhide__ = True
            try:
                test(kit, *args, **kwargs)
            except Exception as error:
                error.add_note(f"rule: {words}\nformat: {_said(kit, 'format')}\nplugin: {_said(kit, 'plugin_module')}")
                raise

        vars(run)["rule"] = words
        return run

    return marked


def rule_of(case: type, name: str) -> str:
    """Return the rule of a test.

    Its own, that of the test that it overrides, or its name in words.
    """
    for base in case.__mro__:
        words: Any = getattr(vars(base).get(name), "rule", None)
        if words is not None:
            return str(words)
    return name.removeprefix("test_").replace("_", " ")


def _said(kit: object, attribute: str) -> str:
    return str(getattr(kit, attribute, None) or "not named")

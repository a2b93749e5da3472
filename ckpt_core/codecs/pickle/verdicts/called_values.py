"""Stand-ins for functions whose arguments decide the verdict.

They are getattr, partial, re._compile and the like. Each takes the verdict of what it is given; what it makes is a
record, and nothing is called.
"""

from collections.abc import Callable
from typing import Any

from ckpt_core.codecs.pickle.records import Budget, Recorded, recorded_class
from ckpt_core.codecs.pickle.verdicts.extraction import dangerous_class, is_extracting
from ckpt_core.codecs.pickle.verdicts.policy import Judged
from ckpt_core.codecs.pickle.verdicts.table import NameVerdict, called, is_own, judge


class Callee:
    """A function whose arguments decide the verdict.

    Its name alone is judged where it is named and not called.
    """

    __slots__ = ("_answer", "called", "full_name")

    def __init__(self, full_name: str, answer: Callable[..., Any]) -> None:
        self.full_name = full_name
        self._answer = answer
        self.called = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.called = True
        return self._answer(*args, **kwargs)

    def __setstate__(self, state: Any) -> None:
        refuse_state(state)


def refuse_state(state: Any) -> None:
    """Raise TypeError for a state set on a stand-in.

    It would change the stand-in for the whole process.
    """
    raise TypeError("a state set on a function")


class _Watched(type):
    """The type of classes that are harmless when restored.

    A call of one runs its `__init__`.
    """

    judged: Judged
    class_name: str

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        cls.judged.note(cls.class_name, called(cls.class_name))
        return super().__call__(*args, **kwargs)


def restored_class(full_name: str, budget: Budget, judged: Judged) -> type[Recorded]:
    """Return the class that records objects of a name.

    It notes where the name is called, or an object made with arguments.
    """
    base = recorded_class(full_name, budget)
    if called(full_name) is judge(full_name):
        return base

    class Restored(base, metaclass=_Watched):  # type: ignore[misc,valid-type]  # made for this pickle
        __slots__ = ()

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            if args or kwargs:
                judged.note(full_name, called(full_name))
            return super().__new__(cls, *args, **kwargs)

    Restored.judged = judged
    return Restored


def called_factories(budget: Budget, judged: Judged) -> dict[str, Any]:
    """Return the stand-ins of this module, by full name."""
    calls = _Calls(budget, judged)
    answers: dict[str, Callable[..., Any]] = {
        "builtins.getattr": calls.attribute,
        "copyreg._reconstructor": calls.reconstructor,
        "copyreg.__newobj__": calls.new_object,
        "operator.getitem": calls.parametrized,
        "operator.itemgetter": calls.itemgetter,
        "re._compile": calls.pattern,
        "re.compile": calls.pattern,
    }
    callees: dict[str, Any] = {name: Callee(name, answer) for name, answer in answers.items()}
    return {**callees, "functools.partial": calls.partial_class(), "builtins.type": calls.type_class()}


_GENERIC = ("typing.", "typing_extensions.", "collections.abc.")


class _Calls:
    def __init__(self, budget: Budget, judged: Judged) -> None:
        self._budget = budget
        self._judged = judged

    def attribute(self, owner: Any = None, name: Any = None, default: Any = None) -> Any:
        """Stand in for `getattr`.

        Older protocols name a class in a class with it, and every protocol a method.
        """
        outer, bound = _named(owner)
        full_name = f"{outer}.{name}" if outer else "builtins.getattr"
        if not outer or type(name) is not str or "." in name or isinstance(owner, Callee):
            self._judged.note("builtins.getattr", NameVerdict.DANGEROUS)
            return dangerous_class("builtins.getattr", self._judged.made)(owner, name)
        within = judge(outer)
        verdict = max(within, judge(full_name, _nested(outer, name)))
        if bound and is_own(outer) and judge(full_name, name) is not NameVerdict.HARMLESS:
            verdict = NameVerdict.DANGEROUS
        self._judged.note(full_name, verdict)
        if verdict is NameVerdict.DANGEROUS:
            return dangerous_class(full_name, self._judged.made)(owner, name)
        return recorded_class(full_name, self._budget)

    def reconstructor(self, kind: Any, base: Any = None, state: Any = None) -> Recorded:
        _class(kind)
        name = _named(base)[0]
        if state is not None and name:  # the base is made with it
            self._judged.note(name, called(name))
        return _new(kind) if state is None else _new(kind, state)

    def new_object(self, kind: Any, *args: Any) -> Recorded:
        _class(kind)
        return _new(kind, *args)

    def parametrized(self, origin: Any = None, parameters: Any = None) -> Recorded:
        """Stand in for `operator.getitem`.

        `typing.Optional[int]` is pickled so: of anything else it may be any code.
        """
        name, made = _named(origin)
        generic = not made and name.startswith(_GENERIC) and judge(name) < NameVerdict.UNKNOWN
        self._judged.note("operator.getitem", NameVerdict.HARMLESS if generic else NameVerdict.UNKNOWN)
        return recorded_class("operator.getitem", self._budget)(origin, parameters)

    def itemgetter(self, *items: Any) -> Recorded:
        self._judged.note("operator.itemgetter", NameVerdict.UNKNOWN)
        return recorded_class("operator.itemgetter", self._budget)(*items)

    def pattern(self, pattern: Any, flags: Any = 0) -> Recorded:
        plain = type(pattern) in (str, bytes) and (type(flags) is int or isinstance(flags, Recorded))
        self._judged.note("re._compile", NameVerdict.HARMLESS if plain else NameVerdict.UNKNOWN)
        return recorded_class("re._compile", self._budget)(pattern, flags)

    def partial_class(self) -> type[Recorded]:
        """Return the stand-in for `functools.partial`.

        Its callable is judged by its own name where it is named.
        """
        return recorded_partial(self._budget, self._judged)

    def type_class(self) -> type[Recorded]:
        """Return the stand-in for `type`.

        It makes a class where it is given three arguments.
        """
        return recorded_type(self._budget, self._judged)


def recorded_partial(budget: Budget, judged: Judged) -> type[Recorded]:
    """Return the class of partials, which judge their callables."""

    class Partial(recorded_class("functools.partial", budget)):  # type: ignore[misc]  # made for this pickle
        __slots__ = ()

        def __new__(cls, function: Any = None, /, *args: Any, **kwargs: Any) -> Any:
            judged.note("functools.partial", verdict_of(function))
            made = super().__new__(cls, function, *args, **kwargs)
            if verdict_of(function) is NameVerdict.DANGEROUS:
                judged.made.append(made)
            return made

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            if not is_extracting():
                raise TypeError("a call of a functools.partial")
            judged.note("functools.partial", NameVerdict.DANGEROUS)
            return dangerous_class("functools.partial", judged.made)(self, *args, **kwargs)

        def __setstate__(self, state: Any) -> None:
            if type(state) is tuple and state:
                judged.note("functools.partial", verdict_of(state[0]))
                if verdict_of(state[0]) is NameVerdict.DANGEROUS:
                    judged.made.append(self)
            super().__setstate__(state)

    return Partial


def recorded_type(budget: Budget, judged: Judged) -> type[Recorded]:
    """Return the class of classes, which notes new ones."""

    class Type(recorded_class("builtins.type", budget)):  # type: ignore[misc]  # made for this pickle
        __slots__ = ()

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            judged.note("builtins.type", NameVerdict.DATA if len(args) == 1 and not kwargs else NameVerdict.DANGEROUS)
            made = super().__new__(cls, *args, **kwargs)
            if len(args) != 1 or kwargs:
                judged.made.append(made)
            return made

    return Type


def verdict_of(function: Any) -> NameVerdict:
    """Return the verdict of a callable.

    It is that of its name, never better than harmless.
    """
    if isinstance(function, Callee):
        return max(NameVerdict.UNKNOWN, judge(function.full_name))
    name, made = _named(function)
    if made:  # what a call gave: of that nothing is known, but of another partial what was noted of it
        return NameVerdict.HARMLESS if name == "functools.partial" else NameVerdict.UNKNOWN
    return max(NameVerdict.HARMLESS, judge(name)) if name else NameVerdict.HARMLESS


def _named(value: Any) -> tuple[str, bool]:
    """Return the class name of a recorded value.

    The flag says if it is an object of the class; the name is "" for anything else.
    """
    if isinstance(value, type) and issubclass(value, Recorded):
        return value.class_name, False
    if isinstance(value, Recorded):
        return value.class_name, True
    return "", False


def _nested(outer: str, name: str) -> str:
    """Return the name within its module: `Outer.Inner`.

    A class in a class is judged as one so.
    """
    parts = outer.split(".")
    start = next((index for index, part in enumerate(parts) if part.lstrip("_")[:1].isupper()), len(parts) - 1)
    return ".".join([*parts[start:], name])


def _class(kind: Any) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Recorded)):
        raise TypeError("an object of no class")


def _new(kind: type[Recorded], *args: Any) -> Recorded:
    """Make an object that is restored, not called."""
    return kind.__new__(kind, *args)

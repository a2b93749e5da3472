import inspect
import re

import pytest

from ckpt_core import errors
from ckpt_core.errors import CkptError, CorruptError

TREE = re.findall(r"^([ │├└─]*)(\w+Error)(?: +(\d+) )?", errors.__doc__, re.MULTILINE)
CLASSES = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CkptError)}


def test_the_drawing_names_every_class_once_and_no_other():
    assert sorted(name for _, name, _ in TREE) == sorted(CLASSES)


def test_the_drawing_shows_each_parent():
    above: list[tuple[int, str]] = []
    for branch, name, _ in TREE:
        while above and above[-1][0] >= len(branch):
            above.pop()
        if above:
            assert CLASSES[above[-1][1]] in CLASSES[name].__bases__
        above.append((len(branch), name))


@pytest.mark.parametrize(("name", "code"), [(name, int(code)) for _, name, code in TREE if code])
def test_the_drawing_shows_each_exit_code(name, code):
    assert CLASSES[name].exit_code == code


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("UsageError", ValueError),
        ("CheckpointNotFoundError", FileNotFoundError),
        ("UnreachableError", OSError),
        ("OverwriteError", FileExistsError),
    ],
)
def test_callers_may_catch_the_builtin_they_know(name, builtin):
    with pytest.raises(builtin):
        raise CLASSES[name]("a: b; c")


@pytest.mark.parametrize("kind", CLASSES.values())
def test_every_error_shows_its_message_and_nothing_else(kind):
    assert str(kind("model.bin: it is broken; copy it again", path="model.bin")) == (
        "model.bin: it is broken; copy it again"
    )


def test_what_an_error_is_about_is_in_its_attributes():
    error = CorruptError("message", code="CK004", path="a.bin", tensor="w", hint="copy it")
    assert (error.message, error.code, error.path, error.tensor, error.hint) == (
        "message",
        "CK004",
        "a.bin",
        "w",
        "copy it",
    )
    bare = CkptError("message")
    assert (bare.code, bare.path, bare.tensor, bare.hint) == (None, None, None, None)

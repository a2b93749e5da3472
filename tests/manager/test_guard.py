import pytest

from ckpt_core import Depth, Query, VerifyRequest, hookimpl, list_files


def test_pluggy_lets_implementations_be_replaced_in_place(manager):
    """The one thing that guarding needs of pluggy and that pluggy does not promise."""

    class Plugin:
        @hookimpl
        def locate(self, query):
            raise ValueError("x")

    manager.register(Plugin(), name="p")
    (implementation,) = [i for i in manager.hook.locate.get_hookimpls() if i.plugin_name == "p"]
    assert implementation.function.__module__ == "ckpt_core.manager.guard"
    assert tuple(implementation.argnames) == ("query",)
    assert not manager.hook.locate(query=Query("nothing-here")).found


class Nothing:
    @hookimpl
    def verify(self):
        asked.append(None)


class One:
    @hookimpl
    def verify(self, request):
        asked.append(request.depth)


class WithDefault:
    @hookimpl
    def verify(self, request=None):
        asked.append(request.depth)


class WithDefaultOfItsOwn:
    @hookimpl
    def verify(self, request, tolerance=5):
        asked.append((request.depth, tolerance))


class Wrapper:
    @hookimpl(wrapper=True)
    def verify(self, request=None):
        answers = yield
        asked.append(len(answers))
        return answers


asked: list[object] = []


@pytest.mark.parametrize(
    ("plugin", "seen"),
    [(Nothing, None), (One, Depth.BYTES), (WithDefault, Depth.BYTES), (WithDefaultOfItsOwn, (Depth.BYTES, 5))],
)
def test_an_implementation_may_take_fewer_parameters_and_give_them_defaults(manager, plugin, seen, tmp_path):
    asked.clear()
    manager.register(plugin(), name="p")
    manager.hook.verify(files=list_files(str(tmp_path)), checkpoint=None, request=VerifyRequest(Depth.BYTES))
    assert manager.failures.of("p") == []
    assert asked == [seen]


def test_a_wrapper_may_give_its_parameters_defaults(manager, tmp_path):
    asked.clear()
    manager.register(Wrapper(), name="p")
    manager.hook.verify(files=list_files(str(tmp_path)), checkpoint=None, request=VerifyRequest())
    assert len(asked) == 1

"""The kit for `locate` hooks: core's own passes it, and each rule fails for a hook that breaks it."""

import sys

import pytest

from ckpt_core import CkptPluginManager, Query
from ckpt_core.testing import LocateTests

WRONG = """
from ckpt_core import Candidate, Priority, hookimpl
count = 0
@hookimpl
def locate(query):
    global count
    count += 1
    if {greedy} or (query.place or "").startswith("mine"):
        open("log.txt", "a").close() if {writes} else None
        yield Candidate(query.place or ".", Priority.EXPLICIT, {reason} + (str(count) if {odd} else ""))
"""


class TestPaths(LocateTests):
    plugin_module = "ckpt_core.builtin.paths"
    foreign = (Query(None), Query(""))

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path):
        self._folder = tmp_path

    def mine(self):
        (self._folder / "a.bin").write_bytes(b"a")
        return [Query(str(self._folder)), Query(str(self._folder / "a.bin"))]

    def missing(self):
        return [Query(str(self._folder / "b.bin"))]


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        ({}, None),
        ({"greedy": True}, "test_a_ref_of_others_gets_no_candidate"),
        ({"reason": "''"}, "test_each_candidate_has_a_place_and_a_reason"),
        ({"odd": True}, "test_the_same_question_has_the_same_answer"),
        ({"writes": True}, "test_nothing_is_written"),
    ],
)
def test_a_rule_fails_for_the_hook_that_breaks_it_and_no_other(tmp_path, monkeypatch, broken, test):
    source = {"greedy": False, "writes": False, "odd": False, "reason": "'mine'", **broken}
    (tmp_path / "made_locator.py").write_text(WRONG.format(**source))
    (tmp_path / "asked").mkdir()
    (tmp_path / "mine.bin").write_bytes(b"a")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "made_locator", raising=False)

    class Made(LocateTests):
        plugin_module = "made_locator"

        def mine(self):
            return [Query("mine.bin")]

        def missing(self):
            return [Query("mine.none")]

        def manager(self):
            made = CkptPluginManager()
            made.register(sys.modules["made_locator"], "made")
            return made

    kit, failed = Made(), []
    for name in [name for name in dir(kit) if name.startswith("test_") and "silence" not in name]:
        given = (tmp_path / "asked", monkeypatch) if "written" in name else ()
        with monkeypatch.context() as own:
            own.chdir(tmp_path)
            try:
                getattr(kit, name)(*given)
            except (AssertionError, pytest.fail.Exception):
                failed.append(name)
    assert failed == ([test] if test else [])

"""`LocateTests`: the rules of a `locate` hook.

It proposes places of its own refs, pinned, and takes no silence for absence.

class TestMine(LocateTests):
    plugin_module = "ckpt_mine.plugin"

    def mine(self):
        return [Query("mine://models/m:latest")]   # what it names is there

    def missing(self):
        return [Query("mine://models/m:v99")]
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from pathlib import Path

import pytest

from ckpt_core.errors import CheckpointNotFoundError, UnreachableError
from ckpt_core.manager.plugin_manager import CkptPluginManager, get_plugin_manager
from ckpt_core.schema.locations import Candidate, Query
from ckpt_core.testing.rules import rule
from ckpt_core.verbs.locate import locate


class LocateTests(ABC):
    """Subclass it, and say which refs are yours.

    Attributes:
        plugin_module: The module with the hook.
        format: What a failure calls it.
        foreign: What others answer, or nobody.
    """

    plugin_module: str
    format = "a locate hook"
    foreign: Sequence[Query] = (
        Query(None),
        Query("a-word"),
        Query("runs/today"),
        Query("nobody://host/of/this"),
        Query("https://localhost:9/model.safetensors"),
    )

    @abstractmethod
    def mine(self) -> Sequence[Query]:
        """Queries that the hook answers; what they mean is there."""

    @abstractmethod
    def missing(self) -> Sequence[Query]:
        """Queries that the hook answers; what they mean is not there."""

    def silent(self) -> AbstractContextManager[object] | None:
        """Return a block in which the places do not answer.

        None where they lie on this machine.
        """
        return None

    def manager(self) -> CkptPluginManager:
        """Return the plugin manager.

        Override it to register a plugin that is not installed.
        """
        return get_plugin_manager()

    @rule("a ref of others gets no candidate")
    def test_a_ref_of_others_gets_no_candidate(self) -> None:
        for query in self.foreign:
            assert self._proposed(query) == [], query

    @rule("each candidate of a ref has a place and its reason, on a line")
    def test_each_candidate_has_a_place_and_a_reason(self) -> None:
        for query in self.mine():
            proposed = self._proposed(query)
            assert proposed, query
            for one in proposed:
                assert one.url, query
                assert one.reason.strip(), one
                assert len(one.reason.splitlines()) == 1, one

    @rule("the same question has the same answer")
    def test_the_same_question_has_the_same_answer(self) -> None:
        for query in self.mine():
            assert self._proposed(query) == self._proposed(query), query

    @rule("what is found is pinned: its location means itself")
    def test_what_is_found_means_itself(self) -> None:
        for query in self.mine():
            url = self._found(query)
            again = self._found(Query(url))
            assert again == url, query

    @rule("nothing is written where it is asked")
    def test_nothing_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = [*self.mine(), *self.missing()]
        before = _modes_and_sizes(tmp_path)
        monkeypatch.chdir(tmp_path)
        for query in asked:
            with suppress(CheckpointNotFoundError):
                locate(query, manager=self.manager())
        assert _modes_and_sizes(tmp_path) == before

    @rule("what is missing is said to be, and nothing else is found in its place")
    def test_what_is_missing_is_not_found(self) -> None:
        for query in self.missing():
            with pytest.raises(CheckpointNotFoundError):
                self._found(query)

    @rule("a place that does not answer is not said to be missing")
    def test_silence_is_not_absence(self) -> None:
        block = self.silent()
        if block is None:
            pytest.skip("its places lie on this machine")
        asked = self.mine()
        with block:
            for query in asked:
                with pytest.raises(UnreachableError):
                    self._found(query)

    def _proposed(self, query: Query) -> list[Candidate]:
        return list(import_module(self.plugin_module).locate(query=query) or ())

    def _found(self, query: Query) -> str:
        return locate(query, manager=self.manager()).require().url


def _modes_and_sizes(folder: Path) -> Mapping[str, tuple[int, int, int]]:
    """Mode, size and time of everything in a folder."""
    states = {str(path): path.lstat() for path in folder.rglob("*")}
    return {path: (state.st_mode, state.st_size, state.st_mtime_ns) for path, state in states.items()}

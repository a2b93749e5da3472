"""`LayoutSignTests`: no layout without its sign.

None of a `LayoutTable` is found in a directory without it.

Detection leaves the rules of a layout alone where no path has its sign, so that a sign that is too narrow hides
checkpoints without a word. The tests draw listings out of your names and patterns.
"""

import re
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ckpt_core.layouts.dispatch import LayoutTable
from ckpt_core.storage.listing import list_files

_ASCII = st.characters(codec="ascii", exclude_categories=["Cc"])
_ONCE = [HealthCheck.differing_executors]
"""Each subclass runs the inherited tests, which hypothesis takes for one test run in several ways."""


class LayoutSignTests(ABC):
    """The sign tests of a `LayoutTable`.

    Subclass it, and say of which table, and what files its layouts have.

    Attributes:
        table: The layouts.
        names: Names of files that its layouts have, and some that other programs write beside them.
        roots: Folders to put them in, each with a slash behind it; "" for none.
    """

    table: LayoutTable
    names: Sequence[str]
    roots: Sequence[str] = ("",)

    @abstractmethod
    def patterns(self) -> Iterable["re.Pattern[str]"]:
        """Every pattern that detection matches a file's name with."""

    def paths(self) -> "st.SearchStrategy[list[str]]":
        """Draw listings: some names below some roots.

        Given ones and such as match a pattern.
        """
        matched = [st.from_regex(found.pattern, fullmatch=True, alphabet=_ASCII) for found in self.patterns()]
        name = st.one_of(st.sampled_from(list(self.names)), *matched).filter(_can_be_a_name)
        return st.lists(st.tuples(st.sampled_from(list(self.roots)), name).map("".join), max_size=8, unique=True)

    @cached_property
    def _listings(self) -> "st.SearchStrategy[list[str]]":
        # Made once: hypothesis takes longer to read a pattern than to draw from it.
        return self.paths()

    def test_every_layout_has_signs(self) -> None:
        assert self.table.layouts
        assert {name: layout.signs for name, layout in self.table.layouts.items() if not all(layout.signs)} == {}
        assert [name for name, layout in self.table.layouts.items() if not layout.signs] == []

    @settings(max_examples=40, deadline=None, suppress_health_check=_ONCE)
    @given(data=st.data())
    def test_no_layout_is_found_without_its_sign(self, data: st.DataObject) -> None:
        paths = data.draw(self._listings)
        by_listing: dict[tuple[str, ...], list[str]] = {}
        for format, layout in self.table.layouts.items():
            without = tuple(path for path in paths if not any(sign in path for sign in layout.signs))
            by_listing.setdefault(without, []).append(format)
        for without, formats in by_listing.items():
            with tempfile.TemporaryDirectory() as folder:
                _make(folder, without, _write)
                files = list_files(folder)
                for format in formats:
                    found = list(self.table.layouts[format].module("detection").find(files))
                    assert found == [], f"{format} is found without a sign in {without}"

    @settings(max_examples=50, deadline=None, suppress_health_check=_ONCE)
    @given(data=st.data())
    def test_every_layout_is_asked_that_would_find_one_also_among_broken_links(self, data: st.DataObject) -> None:
        paths, broken = data.draw(self._listings), data.draw(self._listings)
        with tempfile.TemporaryDirectory() as folder:
            _make(folder, paths, _write)
            _make(folder, broken, _link)
            files = list_files(folder)
            found = [layout.module("detection").find(files) for layout in self.table.layouts.values()]
            assert Counter(self.table.find(files)) == Counter(chain.from_iterable(found))


def _can_be_a_name(name: str) -> bool:
    return 0 < len(name) < 60 and bool(name.strip("./ "))


def _make(folder: str, paths: Iterable[str], make: Callable[[Path], object]) -> None:
    for path in paths:
        place = Path(folder, path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            make(place)
        except OSError:
            pass  # another path of the listing has a file where this one has a folder, or is this one


def _write(place: Path) -> None:
    place.write_bytes(b"")


def _link(place: Path) -> None:
    """A link to nothing, which a listing leaves out."""
    place.symlink_to(place.with_name("nothing"))

"""The sign test of the kit: it passes sound signs, and fails where one is too narrow or is none."""

import re
import sys

import pytest

from ckpt_core.layouts import Layout, LayoutTable
from ckpt_core.testing import LayoutSignTests

DETECTION = r"""
import re, ckpt_core as ck
SHARD = re.compile(r"part_[0-9]+\.(bin|raw)")
def find(files):
    for path in files.entries:
        if SHARD.fullmatch(path.rpartition("/")[2]):
            yield ck.FormatMatch("parts", ck.Confidence.LIKELY, "a part", path)
"""


@pytest.fixture
def signs(tmp_path, monkeypatch):
    """The test class over a layout of parts with these signs."""
    package = tmp_path / "made_layouts" / "parts"
    package.mkdir(parents=True)
    (package / "detection.py").write_text(DETECTION)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("made_layouts")]:
        monkeypatch.delitem(sys.modules, name)

    def of(*given):
        class Signs(LayoutSignTests):
            table = LayoutTable(Layout("parts", "made_layouts.parts", given))
            names = ("part_0.bin", "part_7.raw", "notes.txt")

            def patterns(self):
                return [re.compile(r"part_[0-9]+\.(bin|raw)")]

        return Signs()

    return of


def test_a_sign_that_every_such_path_has_passes(signs):
    sound = signs("part_")
    sound.test_every_layout_has_signs()
    sound.test_no_layout_is_found_without_its_sign()
    sound.test_every_layout_is_asked_that_would_find_one_also_among_broken_links()


@pytest.mark.parametrize("given", [(".bin",), ("part_0",), ("art_1", ".bin")])
def test_a_sign_that_some_path_lacks_fails(signs, given):
    with pytest.raises(AssertionError, match="parts is found without a sign in"):
        signs(*given).test_no_layout_is_found_without_its_sign()
    with pytest.raises(AssertionError):
        signs(*given).test_every_layout_is_asked_that_would_find_one_also_among_broken_links()


@pytest.mark.parametrize("given", [(), ("",), ("part_", "")])
def test_no_sign_and_an_empty_one_fail(signs, given):
    with pytest.raises(AssertionError):
        signs(*given).test_every_layout_has_signs()

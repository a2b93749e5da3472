import inspect

import ckpt_core
from ckpt_core.schema.access import Files
from ckpt_core.storage.checking.checked_files import CheckedFiles
from ckpt_core.storage.files.wrapped import WrappedFiles

OF_OTHERS = {"left_out", "read"}
"""Questions that a listing answers by asking itself others."""


def questions():
    return {name for name, member in vars(Files).items() if not name.startswith("_") and callable(member)} | {
        name for name, member in vars(Files).items() if isinstance(member, property)
    }


def test_every_question_to_a_listing_is_passed_on():
    assert {"debris", "empty", "link_end", "check_unchanged"} <= questions()
    assert questions() - OF_OTHERS == {name for name in vars(WrappedFiles) if not name.startswith("_")}


def test_what_is_passed_on_is_asked_in_the_same_words():
    for name in questions() - OF_OTHERS:
        ours, theirs = vars(WrappedFiles)[name], vars(Files)[name]
        if not isinstance(theirs, property):
            assert [*inspect.signature(ours).parameters] == [*inspect.signature(theirs).parameters], name


def test_a_checked_listing_has_the_debris_and_the_empty_folders_of_its_own(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"1")
    (tmp_path / "._w.bin").write_bytes(b"1")
    (tmp_path / "checkpoint-3").mkdir()
    plain = ckpt_core.list_files(str(tmp_path))
    checked = CheckedFiles(plain)
    assert set(checked.debris) == set(plain.debris) == {"._w.bin"}
    assert list(checked.empty) == list(plain.empty) == ["checkpoint-3"]

import inspect
import os

import pytest

from ckpt_core import knobs
from ckpt_core.errors import UsageError

GETTERS = {
    f"CKPT_{name.upper()}": getter
    for name, getter in inspect.getmembers(knobs, inspect.isfunction)
    if getter.__module__ == knobs.__name__
    and not name.startswith("_")
    and name != "override"
    and getter.__annotations__["return"] is int
}


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in GETTERS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", GETTERS)
def test_a_knob_is_set_by_the_variable_that_its_docstring_names(name, monkeypatch):
    getter = GETTERS[name]
    assert f"`{name}`" in getter.__doc__
    default = getter()
    assert default >= 1
    monkeypatch.setenv(name, str(default + 7))
    assert getter() == default + 7
    monkeypatch.setenv(name, "")
    assert getter() == default


@pytest.mark.parametrize("name", GETTERS)
@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "1e3", " ", "9" * 5000])
def test_what_is_no_positive_whole_number_is_a_usage_error_that_names_the_variable(name, text, monkeypatch):
    monkeypatch.setenv(name, text)
    with pytest.raises(UsageError, match=name) as caught:
        GETTERS[name]()
    assert caught.value.exit_code == 2


def test_plugins_are_left_out_by_one_word_and_no_other_is_taken_for_it(monkeypatch):
    for text, loaded in (("", True), ("none", False)):
        monkeypatch.setenv("CKPT_PLUGINS", text)
        assert knobs.plugins() is loaded
    with knobs.override(plugins=""):
        assert knobs.plugins()
    monkeypatch.setenv("CKPT_PLUGINS", "hf")
    with pytest.raises(UsageError, match="CKPT_PLUGINS='hf': can be none only") as caught:
        knobs.plugins()
    assert caught.value.exit_code == 2


def test_by_default_no_more_workers_than_processors_and_at_most_four():
    assert 1 <= knobs.workers() <= min(4, len(os.sched_getaffinity(0)))


def test_an_override_holds_for_its_block_and_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("CKPT_SLAB_BYTES", "10")
    with knobs.override(slab_bytes=20, workers=3):
        with knobs.override(slab_bytes=30):
            assert (knobs.slab_bytes(), knobs.workers()) == (30, 3)
        assert knobs.slab_bytes() == 20
    assert knobs.slab_bytes() == 10


def test_an_override_ends_with_an_error_too():
    before = knobs.workers()
    with pytest.raises(KeyError), knobs.override(workers=before + 1):
        raise KeyError
    assert knobs.workers() == before


def test_blocks_of_several_threads_end_in_any_order_and_leave_nothing(monkeypatch):
    monkeypatch.delenv("CKPT_WORKERS", raising=False)
    default = knobs.workers()
    first, second = knobs.override(workers=71), knobs.override(workers=72)
    first.__enter__()
    second.__enter__()
    assert knobs.workers() == 72
    first.__exit__(None, None, None)
    assert knobs.workers() == 72
    second.__exit__(None, None, None)
    assert knobs.workers() == default

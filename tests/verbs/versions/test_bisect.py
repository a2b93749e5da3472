"""Bisect: the first version for which a command fails, in log2 steps."""

import sys

import pytest
import torch

import ckpt_core
from ckpt_core.errors import UsageError

FIRST_BAD = 11


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Sixteen versions, with a NaN from the twelfth on."""
    folder = tmp_path_factory.mktemp("bisect")
    for number in range(16):
        values = torch.arange(8.0) + number
        if number >= FIRST_BAD:
            values[3] = float("nan")
        path = folder / f"{number}.safetensors"
        ckpt_core.save({"model": {"w": values}}, path)
        ckpt_core.publish(path, folder / "versions")
    return folder / "versions"


def judged(first_bad, *, skipped=(), code=1):
    def run(command, environment):
        number = int(command[-1].rpartition("@v")[2])
        assert environment["BISECT_REF"] == command[-1]
        return 125 if number in skipped else code if number >= first_bad else 0

    return run


@pytest.mark.parametrize("first_bad", range(1, 16))
def test_it_is_found_in_log2_steps(store, first_bad):
    found = ckpt_core.bisect(store, ["check", "{}"], run=judged(first_bad))
    assert found.first_bad == (f"v{first_bad}",)
    assert found.last_good == f"v{first_bad - 1}"
    assert len(found.tried) <= 2 + 4


def test_a_nan_is_found_by_a_real_command(store):
    code = "import sys, ckpt_core; sys.exit(ckpt_core.verify(sys.argv[1], depth='values').report.findings != ())"
    found = ckpt_core.bisect(store, [sys.executable, "-c", code, "{}"], good=9, bad="v13")
    assert found.first_bad == (f"v{FIRST_BAD}",)
    assert len(found.tried) == 2


def test_versions_that_cannot_be_told_are_named_together(store):
    found = ckpt_core.bisect(store, ["check", "{}"], run=judged(FIRST_BAD, skipped=(10, 11)))
    assert found.first_bad == ("v10", "v11", "v12")
    assert found.last_good == "v9"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"run": judged(99)}, "does not fail for the newest"),
        ({"run": judged(0)}, "does not succeed for the oldest"),
        ({"run": judged(FIRST_BAD, code=128)}, "which is no verdict"),
        ({"run": judged(FIRST_BAD), "good": "v12", "bad": "v3"}, "exchange them"),
        ({"run": judged(FIRST_BAD), "good": "nonsense"}, "no such version"),
        ({"good": 0, "bad": 15}, "cannot be run"),
    ],
)
def test_what_is_no_search_is_one_clear_line(store, how, message):
    with pytest.raises(UsageError, match=message):
        ckpt_core.bisect(store, ["/nonexistent/check", "{}"], **how)

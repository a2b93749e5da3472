"""No file that the format's own reader refuses passes ours: files of a changed structure, the real reader as oracle.

Exceptions, with their reasons, are in `EXCEPTIONS`: what the real reader refuses for no fault of the file.
"""

import warnings
from random import Random

import pytest

from tests.integration.bad_input.damage import ACCEPTED, verdict
from tests.integration.bad_input.differing import (
    changed_bytes,
    changed_headers,
    changed_zips,
    safetensors_refuses,
    safetensors_saved,
    saved,
    torch_refuses,
)

EXCEPTIONS = {
    "Unsupported operand": "weights_only allows fewer opcodes than pickles of data may have",
    "Unsupported global": "weights_only allows fewer names than are data; ours keeps them opaque and says so",
    "Unsupported class": "the same, for classes",
    "but got <class": "the same, for the types of a protocol",
}
"""A part of the message of torch.load, and why it is no fault of the file."""


def passed(place, changes, refuses):
    """What ours accepts and the real reader refuses, with its reason."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for what, content in changes:
            if verdict(place, content) != ACCEPTED:
                continue
            reason = refuses(place)
            if reason and not any(part in reason for part in EXCEPTIONS):
                found.append(f"{what}: {reason}")
    return found


def sampled(changes, step):
    changes = list(changes)
    return changes if step == 1 else Random(0).sample(changes, min(len(changes), step))


@pytest.mark.parametrize("step", [100, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_no_zip_that_torch_refuses_passes(step, tmp_path):
    changes = sampled(changed_zips(saved(legacy=False), Random(1)), step)
    assert passed(tmp_path / "x.pth", changes, torch_refuses) == []


@pytest.mark.parametrize("step", [100, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_no_legacy_file_that_torch_refuses_passes(step, tmp_path):
    good = saved(legacy=True)
    assert (
        passed(tmp_path / "x.pt", sampled(changed_bytes(good, Random(1), structure=len(good)), step), torch_refuses)
        == []
    )


@pytest.mark.parametrize("step", [100, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.timeout(900)
def test_no_safetensors_file_that_safetensors_refuses_passes(step, tmp_path):
    good = safetensors_saved()
    changes = [*changed_headers(), *changed_bytes(good, Random(1), structure=len(good) - 54)]
    assert passed(tmp_path / "x.safetensors", sampled(changes, step), safetensors_refuses) == []

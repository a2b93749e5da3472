"""A file cut off at any byte is refused: as corrupt (4), or as nothing that is known (6) where too little is left.

6 is right for a head that no longer shows the format under a name that shows none either; under its usual name a file
is taken for what it is called, so there the answer is 4 from the first byte on.
"""

import random

import pytest

from tests.integration.bad_input import legacy_cases, safetensors_cases, zip_cases
from tests.integration.bad_input.damage import ACCEPTED, tensors, verdict

WHOLE = {"x.safetensors": safetensors_cases.GOOD, "x.pth": zip_cases.GOOD, "x.pt": legacy_cases.GOOD}
NAMELESS = {"safetensors": safetensors_cases.GOOD, "zip": zip_cases.GOOD, "legacy": legacy_cases.GOOD}


def sampled(size):
    """Every boundary near both ends, and some between."""
    between = random.Random(size).sample(range(12, size - 12), 16)
    return sorted({*range(12), *range(size - 12, size), *between})


def check(place, content, boundaries, exits):
    assert verdict(place, content) == ACCEPTED
    assert tensors(place)
    wrong = {end: found for end in boundaries if (found := verdict(place, content[:end]))[0] not in exits}
    assert wrong == {}


@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_is_corrupt(tmp_path, name):
    check(tmp_path / name, WHOLE[name], sampled(len(WHOLE[name])), {4})


@pytest.mark.parametrize("name", NAMELESS)
def test_a_truncated_file_without_a_suffix_is_corrupt_or_unknown(tmp_path, name):
    check(tmp_path / name, NAMELESS[name], sampled(len(NAMELESS[name])), {4, 6})


@pytest.mark.long
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_truncated_at_every_byte_is_corrupt(tmp_path, name):
    check(tmp_path / name, WHOLE[name], range(len(WHOLE[name])), {4})


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("more", [b"\0", b"\0" * 8, b"PK\x05\x06" + bytes(18)])
def test_a_file_that_goes_on_is_refused_or_noted(tmp_path, name, more):
    """Torch's legacy layout allows more to follow; that is a warning."""
    assert (verdict(tmp_path / name, WHOLE[name] + more) == ACCEPTED) is (name == "x.pt")

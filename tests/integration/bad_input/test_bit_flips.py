"""One flipped bit anywhere in a torch zip file is found, or the file still means exactly the same tensors.

The two other formats have no checksums: there a flipped bit is found where it breaks the structure, and otherwise
changes a value; what is promised is an answer.
"""

import random

import pytest

from tests.integration.bad_input import legacy_cases, safetensors_cases, zip_cases
from tests.integration.bad_input.damage import ACCEPTED, tensors, verdict


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def check_zip(place, bits):
    content = zip_cases.GOOD
    place.write_bytes(content)
    good = tensors(place)
    for bit in bits:
        if verdict(place, flipped(content, bit)) == ACCEPTED:
            assert tensors(place) == good, f"bit {bit & 7} of byte {bit >> 3}"


def test_a_flipped_bit_of_a_zip_is_found_or_harmless(tmp_path):
    bits = len(zip_cases.GOOD) * 8
    check_zip(tmp_path / "x.pth", random.Random(0).sample(range(bits), 300))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", range(4))
def test_every_flipped_bit_of_a_zip_is_found_or_harmless(tmp_path, share):
    check_zip(tmp_path / "x.pth", range(share, len(zip_cases.GOOD) * 8, 4))


def test_every_flipped_bit_of_a_record_is_found_and_names_its_tensor(tmp_path):
    start = zip_cases.GOOD.index(zip_cases.DATA0) * 8
    for bit in range(start, start + len(zip_cases.DATA0) * 8):
        code, message = verdict(tmp_path / "x.pth", flipped(zip_cases.GOOD, bit))
        assert (code, "holds a)" in message) == (4, True)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_flipped_bit_where_there_are_no_checksums_gets_an_answer(tmp_path, name):
    content = safetensors_cases.GOOD if name == "x.safetensors" else legacy_cases.GOOD
    for bit in random.Random(name).sample(range(len(content) * 8), 200):
        code, _ = verdict(tmp_path / name, flipped(content, bit))
        assert code in (0, 4, 6, 7, 8)

"""Whole files of each format, which the child processes warm up with."""

import pytest

from tests.integration.bad_input import legacy_cases, safetensors_cases, zip_cases

GOOD = {"good.safetensors": safetensors_cases.GOOD, "good.pth": zip_cases.GOOD, "good.pt": legacy_cases.GOOD}


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """Paths of good files."""
    folder = tmp_path_factory.mktemp("good")
    for name, content in GOOD.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in GOOD]

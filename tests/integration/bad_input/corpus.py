"""The whole corpus, by parts."""

from functools import cache

from tests.integration.bad_input import (
    benign_cases,
    hf_cases,
    legacy_cases,
    lookalike_cases,
    pickle_cases,
    safetensors_cases,
    seal_cases,
    zip_cases,
)
from tests.integration.bad_input.cases import Case

PARTS = {
    "safetensors": safetensors_cases,
    "zip": zip_cases,
    "pickle": pickle_cases,
    "legacy": legacy_cases,
    "lookalike": lookalike_cases,
    "hf": hf_cases,
    "seal": seal_cases,
    "benign": benign_cases,
}


@cache
def part(name: str) -> tuple[Case, ...]:
    """The cases of a part; names are unique."""
    found = tuple(PARTS[name].cases())
    assert len({case.name for case in found}) == len(found)
    return found


def corpus() -> tuple[Case, ...]:
    """Every case."""
    return tuple(case for name in PARTS for case in part(name))

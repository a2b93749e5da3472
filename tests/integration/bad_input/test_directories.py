"""Checkpoints that are directories, of every layout: damaged file by file, half written, or with a hostile file in it.

Each is asked of through the command: inspect, verify at two depths and for a resume, locate in its parent, convert.
"""

import re

import pytest

from tests.integration.bad_input import directory_cases, hostile_directories
from tests.integration.bad_input.clean_layouts import LAYOUTS, layout
from tests.integration.bad_input.directory_judging import complaints
from tests.integration.bad_input.running import run_all, snapshot

KINDS = {"damaged": directory_cases.cases, "hostile": hostile_directories.cases}
SLOW = {
    "100,000 empty files beside": "so many files take seconds to make and to remove",
    "its data is at a megabyte": "every shard has a name of a megabyte, which each operation goes through",
}
"""Kinds of damage that are left out of the sample, and why."""


def damage(case):
    """The kind of damage of a case, whatever the file."""
    return re.sub(r"\d+ of \d+ ", "", case.name.rpartition(": ")[2])


def every_case():
    return [case for format in LAYOUTS for cases in KINDS.values() for case in cases(layout(format))]


def sampled(every):
    """Each layout whole, and each kind of damage once: of one layout after the other, of one file after the other."""
    by_kind = {}
    for case in every:
        by_kind.setdefault(damage(case), {}).setdefault(case.layout.format, []).append(case)
    yield from (case for (case,) in by_kind.pop("whole").values())
    for turn, (kind, by_layout) in enumerate(by_kind.items()):
        if kind not in SLOW:
            cases = list(by_layout.values())[turn % len(by_layout)]
            yield cases[turn % len(cases)]


def test_a_sample_of_every_layout_is_refused_or_accepted_as_it_should_be(tmp_path, good):
    judge(list(sampled(every_case())), tmp_path, good)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format", LAYOUTS)
@pytest.mark.timeout(900)
def test_every_case_of_a_layout_is_refused_or_accepted_as_it_should_be(format, kind, tmp_path, good):
    judge(list(KINDS[kind](layout(format))), tmp_path, good)


def judge(cases, folder, good):
    """Build the cases, ask of each, and hold the answers to what must come of it."""
    whole = folder / "whole"
    whole.mkdir()
    for case in {case.layout.format: case for case in cases}.values():
        (whole / case.layout.format).mkdir()
        good = [*good, case.layout.write(whole / case.layout.format, case.layout.files)]
    places = {}
    for index, case in enumerate(cases):
        places[case.name] = folder / f"{index:04}"
        places[case.name].mkdir()
        case.build(places[case.name])
    before = snapshot(folder)
    results = run_all({case.name: case.jobs(places[case.name]) for case in cases}, good=good)
    assert list(folder.glob("*.executed")) == []
    assert snapshot(folder) == before
    wrong = [line for case in cases for line in complaints(case, places[case.name], results[case.name])]
    assert wrong == [], "\n".join(line[:600] for line in wrong[:40])


def test_the_corpus_has_every_layout_and_is_as_large_as_it_says():
    names = {kind: [case.name for format in LAYOUTS for case in cases(layout(format))] for kind, cases in KINDS.items()}
    assert all(len(set(found)) == len(found) for found in names.values())
    assert len(LAYOUTS) == 16
    assert len(names["damaged"]) >= 1300
    assert len(names["hostile"]) >= 700


def test_the_sample_has_every_layout_and_every_kind_of_damage_but_the_slow_ones():
    every = every_case()
    sample = list(sampled(every))
    assert {case.layout.format for case in sample} == set(LAYOUTS)
    assert {damage(case) for case in sample} == {damage(case) for case in every} - SLOW.keys()
    assert SLOW.keys() <= {damage(case) for case in every}

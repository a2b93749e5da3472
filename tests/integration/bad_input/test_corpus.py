"""Every case of the corpus is refused or accepted as it should be, within its limits, and nothing else happens.

A flipped bit in the data of an unsealed safetensors file is not in the corpus: the format has no checksums, so nobody
can find it, but for a value that it turned into NaN. `verify --depth bytes` says so (ST009).
"""

import warnings

import pytest

from tests.integration.bad_input.cases import FoundBy, marker_of
from tests.integration.bad_input.corpus import PARTS, corpus, part
from tests.integration.bad_input.judging import complaints
from tests.integration.bad_input.payloads import payloads
from tests.integration.bad_input.running import build_all, run_all, snapshot

LOOKED_AT = ("inspect", "layout", "bytes")


@pytest.mark.timeout(1200)
def test_every_eighth_case_is_refused_or_accepted_as_it_should_be(tmp_path, good):
    """All parts at once, since each run of them starts processes that import torch."""
    check([case for name in PARTS for case in part(name)[::8]], tmp_path, good)


@pytest.mark.long
@pytest.mark.parametrize("name", PARTS)
def test_every_case_is_refused_or_accepted_as_it_should_be(name, tmp_path, good):
    check(part(name), tmp_path, good)


def check(cases, tmp_path, good):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the odd tensors that it is asked to save
        built = build_all(cases, tmp_path)
    before = snapshot(tmp_path)
    looked = {case.name: (built[case.name], (*LOOKED_AT, "values") if case.benign else LOOKED_AT) for case in cases}
    results = run_all(looked, good=good)
    loaded = run_all({case.name: (built[case.name], ("load",)) for case in cases}, good=good, torch=True)
    for case in cases:
        results[case.name].update(loaded[case.name])
    assert list(tmp_path.glob("*.executed")) == []
    assert snapshot(tmp_path) == before
    wrong = [line for case in cases for line in complaints(case, built[case.name], results[case.name])]
    assert wrong == [], "\n".join(wrong[:40])


def test_the_corpus_is_as_large_as_it_says():
    cases = corpus()
    malformed = [case for case in cases if not case.benign]
    assert len(malformed) >= 800
    assert len(cases) - len(malformed) >= 100
    assert {case.found_by for case in malformed} == set(FoundBy)


def test_the_payloads_run_code_where_they_are_unpickled(tmp_path, good):
    """Otherwise that nothing was executed would prove nothing."""
    paths = {}
    for index, payload in enumerate(payload for payload in payloads() if payload.live):
        folder = tmp_path / str(index)
        folder.mkdir()
        paths[payload.name] = folder / "payload.pkl"
        paths[payload.name].write_bytes(payload.stream(marker_of(folder)))
    results = run_all({name: (path, ("unpickle",)) for name, path in paths.items()}, good=good, torch=True)
    dead = [name for name, path in paths.items() if not marker_of(path.parent).is_symlink()]
    dead = [name for name in dead if not marker_of(paths[name].parent).exists()]
    assert dead == [], [(name, results[name]) for name in dead]


def test_what_the_limits_are_for_is_noticed(tmp_path, good, monkeypatch):
    """The harness tells a hang, a death and an exception from an answer."""
    monkeypatch.setenv("SECONDS_OF_A_JOB", "2")
    (tmp_path / "x.pkl").write_bytes(b"\x80\x02cos\n_exit\nK\x05\x85R.")
    (tmp_path / "y.pkl").write_bytes(b"hello")
    (tmp_path / "z.pkl").write_bytes(b"\x80\x02cbuiltins\nsum\ncitertools\nrepeat\nK\x01\x85R\x85R.")
    found = run_all({name: (tmp_path / f"{name}.pkl", ("unpickle",)) for name in "xyz"}, good=good)
    assert found["x"]["unpickle"]["raised"] == "died"
    assert found["y"]["unpickle"]["raised"] == "_pickle.UnpicklingError"
    assert found["z"]["unpickle"]["raised"] == "hang"

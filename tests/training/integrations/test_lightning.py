"""Lightning's Trainer, killed and begun again: the same losses, weights, moments, generators and logs."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.training.integrations.running import runs_of

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(find_spec("lightning") is None, reason="lightning is not installed")
runs = runs_of(Path(__file__).with_name("lightning_runs.py"))

DRAWS = ("none", "torch", "numpy", "python")
STOPS = {"middle of epoch 1": 2, "its end": 3, "epoch 2": 5}
WORKERS = {"0": {}, "2": {"workers": 2}, "persistent": {"workers": 2, "persistent": True}}
SAME = [("0", "0"), ("2", "2"), ("persistent", "persistent")]
OTHER = [("0", "2"), ("2", "0"), ("persistent", "0")]

CELLS = [("map", *pair, draw, stop) for pair in SAME + OTHER for draw in DRAWS for stop in STOPS]
CELLS += [("stream", *pair, draw, stop) for pair in SAME for draw in DRAWS for stop in STOPS]
HF_CELLS = [("hf map", *pair, draw, stop) for pair in SAME + OTHER for draw in DRAWS for stop in STOPS]
HF_CELLS += [("hf stream", *pair, draw, stop) for pair in SAME for draw in DRAWS for stop in STOPS]
SAMPLE = [
    ("map", "0", "2", "torch", "middle of epoch 1"),
    ("map", "persistent", "0", "torch", "epoch 2"),
    ("stream", "0", "0", "numpy", "epoch 2"),
]

NAMES = {"none": "no", "torch": "torch's", "numpy": "numpy's", "python": "Python's"}
KINDS = {
    "map": "numbered samples",
    "stream": "an iterable set with a state",
    "hf map": "a `Dataset` of `datasets`, shuffled",
    "hf stream": "a stream of `datasets`",
}

EXACT = ("step", "epoch", "weights", "optimizer", "scaler", "scheduler", "generators")
MILESTONES = {"schedule": "milestones", "max_steps": 6, "max_epochs": -1, "val_check_interval": 2}
TORN = ["before save", "before rename"]
REFUSED = [
    {"rate": 2e-2},
    {"batch_size": 8},
    {"accumulate_grad_batches": 1},
    {"seed": 4},
    {"width": 9},
    {"max_epochs": 1},
    {"kind": "stateless"},
    {"schedule": "milestones"},
    {"policy": None},
    {"policy": "missing.ckpt"},
]
INEXACT = {
    "with the callback LearningRateFinder": {"callback": "rate"},
    "with the callback GradientAccumulationScheduler": {"callback": "groups", "accumulate_grad_batches": 1},
    "with the callback StochasticWeightAveraging": {"callback": "average"},
    "reload_dataloaders_every_n_epochs": {"reload_dataloaders_every_n_epochs": 1},
    "overfit_batches": {"overfit_batches": 2},
    "val_check_interval is a time": {"val_check_interval": "00:00:10:00"},
    "asks for its batches itself": {"net": "fetching"},
    "WeightedRandomSampler": {"loader": "sampler"},
    "a dict of training data": {"loader": "several"},
    "in_order": {"loader": "unordered"},
    "progress:callbacks.Odd.odd: a value of class object": {"callback": "odd"},
    "config.odd: a value of class object": {"odd": True},
}
OTHERWISE = {
    "metric and scaler": {"metric": True, "scaled": True},
    "manual": {"net": "manual", "accumulate_grad_batches": 1, "metric": True},
}


def cell_job(cell):
    kind, before, after, draw, stop = cell
    first = {"kill": [_event(stop), STOPS[stop]], "kind": kind, "draw": draw, **WORKERS[before]}
    return [first, {"kind": kind, "draw": draw, **WORKERS[after]}]


def _event(stop):
    return "on_train_epoch_start" if stop == "its end" else "on_train_batch_start"


def killed(at, **more):
    return [{**more, "kill": at}, more]


def whole_of(cell):
    # an iterable set is shared out among its workers: their number decides the order
    kind, before, _, draw, _ = cell
    return f"whole {kind} {draw} {(before if kind.endswith('stream') else '0')}"


def whole_jobs(cells):
    return {
        whole_of(cell): [{"kind": cell[0], "draw": cell[3], **WORKERS[whole_of(cell).split()[-1]]}] for cell in cells
    }


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    jobs = {
        **whole_jobs([*SAMPLE, ("map", "0", "0", "none", "epoch 2")]),
        **{"-".join(cell): cell_job(cell) for cell in SAMPLE},
        **{f"torn {event}": killed([event, 3], draw="torch") for event in TORN},
        "whole plateau": [{"schedule": "plateau"}],
        "plateau": killed(["on_train_batch_start", 5], schedule="plateau"),
        "whole milestones": [MILESTONES],
        "milestones": killed(["on_train_epoch_start", 3], **MILESTONES),
        "SIGTERM": [{"signal": [15, 4], "saving": {"every_n_train_steps": 100}}, {}],
        **{f"whole {name}": [part] for name, part in OTHERWISE.items()},
        "metric and scaler": killed(["on_train_batch_start", 5], **OTHERWISE["metric and scaler"]),
        "manual": [{**OTHERWISE["manual"], "signal": [10, 4, True]}, OTHERWISE["manual"]],
        "inexact": [{"refused": [*INEXACT.values()]}],
        "forget rng": [{"kill": ["on_train_batch_start", 2]}, {"forget": "rng"}],
        "forget keys": [{"kill": ["on_train_batch_start", 2], "draw": "torch"}, {"draw": "torch", "forget": "keys"}],
        "refused": [{"kill": ["on_train_batch_start", 3]}, {"refused": REFUSED}],
        "without": [{"exact": False, "max_epochs": 1}, {"refused": [{}]}],
        "stream refused": [
            {"kill": ["on_train_batch_start", 2], "kind": "stream"},
            {"refused": [{"kind": "stream", "workers": 2}, {"kind": "stream", "workers": 2, "persistent": True}]},
        ],
    }
    return runs(tmp_path_factory.mktemp("lightning"), jobs)


def exact(answer, whole, ends=("killed", "result")):
    assert answer["ends"] == list(ends), answer
    found, expected = answer["result"], whole["result"]
    assert {name: found[name] for name in EXACT} == {name: expected[name] for name in EXACT}
    for name in ("losses", "logged"):
        assert found[name] and found[name] == expected[name][-len(found[name]) :]


@pytest.mark.parametrize("cell", SAMPLE, ids="-".join)
def test_a_trainer_that_was_killed_goes_on_bit_for_bit(cell, answers):
    exact(answers["-".join(cell)], answers[whole_of(cell)])


@pytest.mark.parametrize("event", TORN)
def test_a_checkpoint_that_is_half_written_is_never_chosen(event, answers):
    exact(answers[f"torn {event}"], answers["whole map torch 0"])


@pytest.mark.parametrize("schedule", ["plateau", "milestones"])
def test_schedules_go_on_as_they_would_have(schedule, answers):
    exact(answers[schedule], answers[f"whole {schedule}"])


def test_a_signal_within_a_step_saves_after_it_and_ends(answers):
    exact(answers["SIGTERM"], answers["whole map none 0"], ["exit 143", "result"])
    assert len(answers["SIGTERM"]["result"]["losses"]) == 2
    assert "preempted-step=5.ckpt" not in answers["SIGTERM"]["result"]["folders"]


def test_metrics_of_an_epoch_and_the_scale_of_losses_go_on(answers):
    exact(answers["metric and scaler"], answers["whole metric and scaler"])


def test_a_module_that_steps_itself_keeps_the_gradients_of_half_a_step(answers):
    exact(answers["manual"], answers["whole manual"], ["exit 138", "result"])


def test_what_cannot_be_exact_is_refused_before_the_first_step(answers):
    for said, text in zip(INEXACT, answers["inexact"]["refusals"], strict=True):
        assert said in text, text


@pytest.mark.parametrize("what", ["rng", "keys"])
def test_what_is_forgotten_is_seen_by_these_tests(what, answers):
    whole = answers["whole map none 0" if what == "rng" else "whole map torch 0"]
    losses = answers[f"forget {what}"]["result"]["losses"]
    assert losses != whole["result"]["losses"][-len(losses) :]


def test_what_does_not_fit_is_refused_before_the_first_step(answers):
    said = dict(zip(map(str, REFUSED), answers["refused"]["refusals"], strict=True))
    expected = [
        "learning rate is 0.01, the optimizer's is 0.02; say which counts with lr='checkpoint' or lr='argument'",
        "batch_size was 4 and is 8",
        "accumulate_grad_batches was 2 and is 1",
        "seed is 4 here and was 3",
        "it is of another architecture",
        "epoch 1 ≥ 1: nothing would run",
        "a Stateless has no state_dict",
        "there were ['CosineAnnealingLR'], and there are ['MultiStepLR']",
        "is of another run",
        "missing.ckpt",
    ]
    for part, text in zip(REFUSED, expected, strict=True):
        assert text in said[str(part)]
    assert "saved without ExactResume" in answers["without"]["refusals"][0]
    assert all("num_workers is 2 here and was 0" in text for text in answers["stream refused"]["refusals"])


def table():
    """What the cells show, as the documentation has it; workers of pairs that they leave out are refused."""
    draws, stops = ", ".join(NAMES[draw] for draw in DRAWS), ", ".join(STOPS)
    yield f"| data | workers before → after | {draws} randomness in the data; stopped in the {stops} |"
    yield "|---|---|---|"
    for kind, name in KINDS.items():
        shown = {pair: [cell for cell in CELLS + HF_CELLS if cell[:3] == (kind, *pair)] for pair in SAME + OTHER}
        exact_pairs = [pair for pair, cells in shown.items() if len(cells) == len(DRAWS) * len(STOPS)]
        for pairs, word in ((exact_pairs, "exact"), ([pair for pair in shown if not shown[pair]], "refused")):
            if pairs:
                yield f"| {name} | {', '.join(' → '.join(pair) for pair in pairs)} | {word} |"
    buffered = "a stream of `datasets` that is shuffled through a buffer"
    yield f"| an iterable set without a state, {buffered} | any | refused |"


def test_the_documentation_has_the_table():
    assert "\n\n" + "\n".join(table()) + "\n\n" in (ROOT / "docs" / "training.md").read_text()


def test_lightning_is_not_imported_before_it_is_used():
    code = (
        "import sys, ckpt_core.training.integrations.lightning as our; print(our.__all__, 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['BundleIO', 'ExactResume', 'newest'] False\n"


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_trainer_goes_on_bit_for_bit_in_every_cell(tmp_path):
    found = runs(tmp_path, {**whole_jobs(CELLS), **{"-".join(cell): cell_job(cell) for cell in CELLS}})
    for cell in CELLS:
        exact(found["-".join(cell)], found[whole_of(cell)])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_trainer_may_be_killed_at_every_event(tmp_path):
    part = {"draw": "torch", "val_check_interval": 3}
    whole = runs(tmp_path, {"whole": [part]})["whole"]
    last = max(number for number, (event, _) in enumerate(whole["seen"]) if event == "on_train_batch_end")
    jobs = {str(number): killed(number, **part) for number in range(last)}
    for answer in runs(tmp_path / "killed", jobs).values():
        exact(answer, whole)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", OTHERWISE)
def test_otherwise_stepped_trainings_may_be_killed_at_every_third_event(name, tmp_path):
    part = OTHERWISE[name]
    whole = runs(tmp_path, {"whole": [part]})["whole"]
    last = max(number for number, (event, _) in enumerate(whole["seen"]) if event == "on_train_batch_end")
    jobs = {str(number): killed(number, **part) for number in range(0, last, 3)}
    for answer in runs(tmp_path / "killed", jobs).values():
        exact(answer, whole)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_sets_of_datasets_go_on_bit_for_bit_or_are_refused(tmp_path):
    pytest.importorskip("datasets")
    refused = {"hf buffer": [{"kind": "hf buffer"}]}
    refused["hf stream"] = [{"kind": "hf stream", "workers": 2}]
    jobs = {
        f"refused {kind}": [{"kind": "hf stream", "kill": ["on_train_batch_start", 2]}, {"refused": parts}]
        for kind, parts in refused.items()
    }
    found = runs(tmp_path, {**whole_jobs(HF_CELLS), **{"-".join(cell): cell_job(cell) for cell in HF_CELLS}, **jobs})
    for cell in HF_CELLS:
        exact(found["-".join(cell)], found[whole_of(cell)])
    assert "leaves out the samples in its buffer" in found["refused hf buffer"]["refusals"][0]
    assert "num_workers is 2 here and was 0" in found["refused hf stream"]["refusals"][0]

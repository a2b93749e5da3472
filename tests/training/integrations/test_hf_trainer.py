"""transformers' Trainer, killed and begun again: the same losses, weights, moments, generators and steps."""

from pathlib import Path

import pytest

from tests.training.integrations.running import runs_of

pytest.importorskip("transformers")

RUNS = Path(__file__).with_name("trainer_runs.py")

DRAWS = ("none", "torch", "numpy", "python")
STOPS = {"middle of epoch 1": 2, "its end": 3, "epoch 2": 5}
WORKERS = {"0": {}, "2": {"workers": 2}, "persistent": {"workers": 2, "persistent": True}}
PAIRS = [("0", "0"), ("2", "2"), ("persistent", "persistent"), ("0", "2"), ("2", "0"), ("persistent", "0")]
CELLS = [(*pair, draw, stop) for pair in PAIRS for draw in DRAWS for stop in STOPS]
SAMPLE = [
    ("0", "2", "torch", "middle of epoch 1"),
    ("persistent", "0", "numpy", "epoch 2"),
    ("2", "2", "python", "its end"),
    ("0", "0", "none", "epoch 2"),
]

EXACT = ("step", "logged", "weights", "optimizer", "scheduler", "generators")

STOPPING = {"patience": 2, "eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "loss", "max_steps": 30}
OPEN_LOSS = {"logging_steps": 4, "save_steps": 3}
TORN = [
    "before _save_optimizer_and_scheduler",
    "before _save_rng_state",
    "before seal",
    "before rename",
    "before _remove_older",
]


runs = runs_of(RUNS)


def killed(at, more=None, again=None):
    return [{"kill": at, **(more or {})}, {**(more or {}), **(again or {})}]


def cell_job(cell):
    before, after, draw, stop = cell
    # the workers of the process that goes on are others
    return [
        {"kill": ["on_step_begin", STOPS[stop]], "draw": draw, **WORKERS[before]},
        {"draw": draw, **WORKERS[after]},
    ]


WHOLE = {f"whole {draw}": [{"draw": draw}] for draw in DRAWS}
REFUSED = [
    {"learning_rate": 2e-2},
    {"batch_size": 8},
    {"gradient_accumulation_steps": 1},
    {"seed": 4},
    {"width": 9},
    {"max_steps": 2},
    {"stream": "plain"},
    {"stream": "placed", "save_strategy": "epoch"},
    {"ignore_data_skip": True},
    {"train_sampling_strategy": "group_by_length"},
    {"lr": "both"},
    {"extra": {"": ["maturity"]}},
]
STREAM = {"stream": "placed", "draw": "torch"}
REPLAYED = {"stream": "plain", "draw": "torch", "replay": True, "ignore_data_skip": True}
EXTRA = {"extra": {"": ["maturity"]}}


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    jobs = {
        **WHOLE,
        **{"-".join(cell): cell_job(cell) for cell in SAMPLE},
        **{f"torn {event}": killed([event, 4]) for event in TORN},
        "whole open loss": [OPEN_LOSS],
        "open loss": killed(["on_step_begin", 5], OPEN_LOSS),
        "whole stopping": [STOPPING],
        "stopping": killed(["on_step_begin", 5], STOPPING),
        "seedless": killed(["on_step_begin", 5], {"accelerator_config": {"use_seedable_sampler": False}}),
        "forget rng": killed(["on_step_begin", 2], None, {"forget": "rng"}),
        "forget keys": killed(["on_step_begin", 2], {"draw": "torch", "forget": "keys"}),
        "whole stream": [STREAM],
        "stream": killed(["on_step_begin", 5], STREAM),
        "replayed": killed(["on_step_begin", 5], REPLAYED),
        "stream at its end": killed(["on_step_begin", 3], STREAM),
        "other stream": [{"kill": ["on_step_begin", 2], **STREAM}, {"refused": [{**STREAM, "workers": 2}]}],
        "extra": killed(["on_step_begin", 5], EXTRA),
        "refused": [{"kill": ["on_step_begin", 2]}, {"refused": REFUSED}],
        "other rate": killed(["on_step_begin", 2], None, {"learning_rate": 2e-2, "lr": "argument"}),
        "old rate": killed(["on_step_begin", 2], None, {"learning_rate": 2e-2, "lr": "checkpoint"}),
    }
    return runs(tmp_path_factory.mktemp("trainer"), jobs)


def exact(answer, whole):
    assert answer["ends"] == ["killed", "result"], answer
    assert {name: answer["result"][name] for name in EXACT} == {name: whole["result"][name] for name in EXACT}


@pytest.mark.parametrize("cell", SAMPLE, ids="-".join)
def test_a_trainer_that_was_killed_goes_on_bit_for_bit(cell, answers):
    exact(answers["-".join(cell)], answers[f"whole {cell[2]}"])


@pytest.mark.parametrize("event", TORN)
def test_a_folder_that_is_half_written_is_never_chosen_and_none_is_lost(event, answers):
    exact(answers[f"torn {event}"], answers["whole none"])
    folders = answers[f"torn {event}"]["result"]["folders"]
    assert [name for name in folders if name.startswith("checkpoint")] == ["checkpoint-8", "checkpoint-9"]


def test_a_logged_loss_is_the_average_of_all_its_steps(answers):
    exact(answers["open loss"], answers["whole open loss"])


def test_patience_is_what_it_was(answers):
    exact(answers["stopping"], answers["whole stopping"])
    assert answers["stopping"]["result"]["patience"] == answers["whole stopping"]["result"]["patience"]
    assert 6 < answers["stopping"]["result"]["step"] < 30


@pytest.mark.parametrize("name", ["stream", "replayed", "stream at its end"])
def test_a_stream_goes_on_bit_for_bit_behind_the_last_sample(name, answers):
    exact(answers[name], answers["whole stream"])


def test_a_stream_that_would_give_other_samples_is_refused(answers):
    assert "num_workers is 2 here and was 0" in answers["other stream"]["refusals"][0]


def test_attributes_that_are_in_no_state_dict_are_what_they_were(answers):
    exact(answers["extra"], answers["whole none"])
    assert answers["extra"]["result"]["maturity"] == answers["whole none"]["result"]["maturity"]
    without = answers["0-0-none-epoch 2"]
    assert without["result"]["maturity"] != answers["whole none"]["result"]["maturity"]


def test_an_order_that_accelerate_would_draw_anew_follows_from_the_seed(answers):
    exact(answers["seedless"], answers["whole none"])


@pytest.mark.parametrize("what", ["rng", "keys"])
def test_what_is_forgotten_is_seen_by_these_tests(what, answers):
    whole = answers["whole none" if what == "rng" else "whole torch"]
    assert answers[f"forget {what}"]["result"]["logged"] != whole["result"]["logged"]


def test_what_does_not_fit_is_refused_before_the_first_step(answers):
    said = dict(zip(map(str, REFUSED), answers["refused"]["refusals"], strict=True))
    expected = {
        0: "learning rate is 0.01, the optimizer's is 0.02; say which counts with lr='checkpoint' or lr='argument'",
        1: "batch_size was 4 and is 8",
        2: "accumulate was 2 and is 1",
        3: "seed was 3 and is 4",
        4: "it is of another architecture",
        5: "step 2 ≥ 2: nothing would run",
        6: "a Stream has no state_dict, so that a position is lost; with replay=True",
        7: "save_strategy='epoch': a stream is trained on in one endless pass",
        8: "ignore_data_skip=True",
        9: "train_sampling_strategy='group_by_length'",
        10: "checkpoint or argument is needed, not 'both'",
        11: "progress:extra: it was not saved, and the training has one",
    }
    for number, text in expected.items():
        assert text in said[str(REFUSED[number])]


def test_the_learning_rate_is_the_one_that_was_chosen(answers):
    def rates(name):
        return [one["learning_rate"] for one in answers[name]["result"]["logged"] if "learning_rate" in one]

    assert rates("old rate") == rates("whole none")
    assert rates("other rate")[:2] == rates("whole none")[:2]
    assert rates("other rate")[2:] == pytest.approx([2 * rate for rate in rates("whole none")[2:]])


def test_the_arguments_are_as_they_were_given(answers):
    assert answers["whole none"]["result"]["limit"] == 2


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_trainer_goes_on_bit_for_bit_in_every_cell(tmp_path):
    found = runs(tmp_path, {**WHOLE, **{"-".join(cell): cell_job(cell) for cell in CELLS}})
    for cell in CELLS:
        exact(found["-".join(cell)], found[f"whole {cell[2]}"])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_trainer_on_a_stream_goes_on_bit_for_bit_in_every_cell(tmp_path):
    def part(draw, kind, workers, **more):
        return {"stream": kind, "replay": kind == "plain", "draw": draw, **WORKERS[workers], **more}

    cells = [
        (draw, kind, workers, stop)
        for draw in DRAWS
        for kind in ("plain", "placed")
        for workers in WORKERS
        for stop in STOPS
    ]
    jobs = {f"whole {draw} {workers}": [part(draw, "placed", workers)] for draw in DRAWS for workers in WORKERS}
    for cell in cells:
        kill = ["on_step_begin", STOPS[cell[3]]]
        jobs["-".join(cell)] = [part(*cell[:3], kill=kill), part(*cell[:3])]
    found = runs(tmp_path, jobs)
    for cell in cells:
        exact(found["-".join(cell)], found[f"whole {cell[0]} {cell[2]}"])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_trainer_may_be_killed_at_every_event(tmp_path):
    whole = runs(tmp_path, {"whole": [{"draw": "torch"}]})["whole"]
    last = whole["seen"].index(["before _remove_older", 9])  # then all of it is done, and nothing would run
    jobs = {str(number): killed(number, {"draw": "torch"}) for number in range(2, last)}
    for number, answer in runs(tmp_path / "killed", jobs).items():
        assert answer["ends"] == ["killed", "result"], whole["seen"][int(number)]
        exact(answer, whole)

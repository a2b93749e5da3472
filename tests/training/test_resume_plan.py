"""The plan of a resume: what it says is what the resume then does, or refuses, with nothing changed before."""

import logging

import pytest
import torch
from torch import nn
from torch.distributed import HashStore

from ckpt_core.errors import CkptError, CorruptError, LoadInterruptedError, LoadRefusedError, UsageError
from ckpt_core.storage.ranks import torchrun
from ckpt_core.storage.ranks.meeting import Meeting
from ckpt_core.training import Checkpointer, Effect, KeyedLoader
from ckpt_core.training.filling import Prepared
from ckpt_core.training.planning.going_on import GoingOn
from ckpt_core.training.planning.live import Choices
from ckpt_core.training.planning.resuming import fill_all
from ckpt_core.training.ranks.team import RanksTeam
from ckpt_core.training.runs import open_run
from tests.storage.ranks_in_threads import in_ranks
from tests.training.small_training import Data, checkpointer, differing, training

DONE = 2
RATE = "optimizer group 0: learning rate"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that stopped in the middle of epoch 1."""
    made = training()
    place = tmp_path_factory.mktemp("runs") / "run"
    with checkpointer(place, made, save_every=1, arguments={"lr": 0.01, "name": "a"}) as saver:
        made.run(DONE, saver)
    return place


def planned(run, made, *, more=None, **how):
    """The plan, which changes nothing, and the resume that follows it: what it went on from, or its error."""
    before = made.state()
    with checkpointer(run, made, **(more or {})) as saver:
        plan = saver.plan(**how)
        assert differing(made.state(), before) == []
        try:
            return plan, saver.resume(**how)
        except CkptError as error:
            assert differing(made.state(), before) == []
            return plan, error


def test_the_plan_of_the_same_training_restores_everything(run):
    plan, resumed = planned(run, training(seed=5), max_steps=10)
    labels = {"model", "optimizer", "scheduler", "ema", "sampler", "rng", "steps", "sampler: position"}
    assert labels <= {row.what for row in plan.rows}
    assert {row.effect for row in plan.rows} <= {Effect.RESTORED, Effect.UNUSED}
    assert plan.row("steps").note == "8 remain" and plan.row("steps").saved == DONE
    assert plan.row("sampler: position").saved == "epoch 0, sample 16 of 22"
    assert (plan.changed, plan.refused) == ((), ())
    assert resumed.plan == plan and (resumed.step, resumed.changed) == (DONE, ())


def test_a_folder_without_checkpoints_has_a_plan_that_begins(tmp_path):
    plan, resumed = planned(tmp_path / "run", training())
    assert plan.location is None and plan.rows == () and resumed.step == 0
    assert plan.table() == "nothing to go on from: the training begins at step 0"


def wider():
    made = training(seed=5)
    made.model[3] = nn.Linear(8, 4)
    made.optimizer = torch.optim.AdamW(made.model.parameters(), lr=1e-2)
    made.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(made.optimizer, 20)
    return made


def other_schedule():
    made = training(seed=5)
    made.scheduler = torch.optim.lr_scheduler.StepLR(made.optimizer, 3)
    return made


def fewer_samples():
    made = training(seed=5)
    made.loader._sampler.length = 21
    return made


REFUSED = {
    "tensors of another shape": (wider, {}, "model", LoadRefusedError, "another architecture"),
    "another class of schedule": (other_schedule, {}, "scheduler", LoadRefusedError, "has a StepLR"),
    "another number of samples": (fewer_samples, {}, "sampler", LoadRefusedError, "twice or never"),
    "another seed": (lambda: training(data_seed=1), {}, "sampler", LoadRefusedError, "seed is 1 here and was 7"),
    "another rate": (
        lambda: training(lr=0.5),
        {},
        "optimizer group 0: learning rate",
        LoadRefusedError,
        "which counts",
    ),
    "no steps left": (training, {"max_steps": 2}, "steps", UsageError, r"nothing would run"),
    "fewer steps than done": (training, {"max_steps": 1}, "steps", UsageError, "step 2 ≥ max_steps=1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_plan_refuses_is_what_the_resume_raises(run, what):
    make, how, label, kind, match = REFUSED[what]
    plan, error = planned(run, make(), **how)
    row = plan.row(label)
    assert row.effect is Effect.REFUSED and row in plan.refused
    assert type(error) is kind and error.message.startswith(plan.refused[0].note)
    with pytest.raises(kind, match=match):
        raise error
    assert label in plan.table() and "refused" in plan.table()


def test_everything_that_is_refused_is_in_the_plan_and_counted_in_the_error(run):
    made = other_schedule()
    made.optimizer.param_groups[0]["initial_lr"] = 0.5
    plan, error = planned(run, made, max_steps=2)
    assert {row.what for row in plan.refused} == {"steps", "scheduler", "optimizer group 0: learning rate"}
    assert str(error).endswith("; 2 more are refused: Checkpointer.plan() shows all")


CHANGED = {
    "batch size": (lambda: training(batch_size=2), {}, "sampler: batch_size", (4, 2), Effect.OVERRIDDEN),
    "workers": (lambda: training(num_workers=1), {}, "sampler: num_workers", (0, 1), Effect.OVERRIDDEN),
    "rate, the old": (lambda: training(lr=0.5), {"lr": "checkpoint"}, "learning rate", (0.01, 0.5), Effect.RESTORED),
    "rate, the new": (lambda: training(lr=0.5), {"lr": "argument"}, "learning rate", (0.01, 0.5), Effect.OVERRIDDEN),
}


@pytest.mark.parametrize("what", CHANGED)
def test_what_is_otherwise_is_in_the_plan_with_what_counts(run, what):
    make, how, label, values, effect = CHANGED[what]
    plan, resumed = planned(run, make(), **how)
    [row] = plan.changed
    assert row.what.endswith(label) and (row.saved, row.given) == values and row.effect is effect
    assert resumed.changed == (row.sentence(),)


def test_arguments_that_are_otherwise_are_said(run):
    plan, resumed = planned(run, training(), more={"arguments": {"lr": 0.02, "steps": 5}})
    [row] = plan.changed
    assert (row.what, row.saved, row.given, row.effect) == ("argument lr", 0.01, 0.02, Effect.OVERRIDDEN)
    assert plan.row("argument name").effect is Effect.UNUSED
    assert plan.row("argument steps").effect is Effect.MISSING
    assert resumed.changed == ("argument lr was 0.01 and is 0.02",)


def test_other_versions_commits_and_data_are_said(run, monkeypatch):
    made = training()
    with checkpointer(run, made) as saver:
        saver._environment["versions"]["torch"] = "9.9"
        saver._environment["git_commit"] = "0" * 40
        saver._environment["world_size"] = 4
        plan = saver.plan()
    assert plan.row("version of torch").given == "9.9"
    assert plan.row("world size").effect is Effect.OVERRIDDEN and plan.row("world size").saved == 1
    assert plan.row("git commit").effect in (Effect.OVERRIDDEN, Effect.MISSING)


def test_a_dataset_that_names_its_content_is_told_from_another(tmp_path):
    Data.fingerprint = "a"
    try:
        made = training()
        made.loader.set_epoch(1)
        next(iter(made.loader)), next(iter(made.loader))
        with checkpointer(tmp_path / "run", made) as saver:
            saver.save(1)
        Data.fingerprint = "b"
        plan, error = planned(tmp_path / "run", training())
        again = training()
        begun, resumed = planned(tmp_path / "run", again, data="argument")
    finally:
        del Data.fingerprint
    assert plan.row("sampler").effect is Effect.REFUSED
    assert "fingerprint is 'b' here and was 'a'" in str(error)
    assert "where it is other data on purpose, data='argument' begins them" in str(error)
    assert begun.row("sampler").effect is Effect.OVERRIDDEN and begun.refused == ()
    assert resumed.step == 1 and "sampler" not in resumed.restored
    assert (again.loader.epoch, again.loader.position) == (1, 0)


def test_what_nothing_was_given_for_is_in_the_plan(run):
    with Checkpointer(run, model=training().model) as saver:
        plan = saver.plan()
    assert {row.what for row in plan.rows if row.effect is Effect.UNUSED} == {
        "optimizer",
        "scheduler",
        "ema",
        "sampler",
    }


def seen_with(run, loading, how):
    """The numbers of the samples of what is left of an epoch, after another batch size."""
    made = training(**loading)
    with checkpointer(run, made) as saver:
        resumed = saver.resume(**how)
    order = made.loader._sampler.order(0)
    position, found = made.loader.position, []
    for batch in made.loader:
        found += order[position : position + len(batch)]
        position += len(batch)
    return resumed, order[:16], found


def test_half_the_batch_size_is_warned_of_and_no_sample_comes_twice_or_is_left_out(tmp_path, caplog):
    made = training(batch_size=8)
    with checkpointer(tmp_path / "run", made, save_every=1) as saver:
        made.run(1, saver)
    with caplog.at_level(logging.WARNING):
        resumed, had, rest = seen_with(tmp_path / "run", {"batch_size": 4}, {})
    assert "batch_size was 8 and is 4" in caplog.text
    assert resumed.plan.row("sampler: batch_size").effect is Effect.OVERRIDDEN
    assert sorted([*had, *rest]) == list(range(22))


class Interrupted:
    """Takes the state of others, and is stopped in the midst of it."""

    def state_dict(self):
        return {"a": 1}

    def load_state_dict(self, state):
        raise KeyboardInterrupt


class Immovable(KeyedLoader):
    """Cannot be begun in another epoch, once it is there."""

    def __setattr__(self, name, value):
        if name == "epoch" and hasattr(self, "epoch"):
            raise RuntimeError("no")
        super().__setattr__(name, value)


@pytest.mark.parametrize(
    ("others", "how", "error"),
    [
        ({"other": Interrupted()}, {}, KeyboardInterrupt),
        ({"loader": Immovable(Data(), 4, seed=7)}, {"data": "argument"}, LoadInterruptedError),
    ],
)
def test_a_resume_that_ends_in_the_midst_leaves_nothing_that_is_saved(tmp_path, others, how, error):
    made = training()
    with checkpointer(tmp_path / "run", made, **others) as saver:
        saver.save(1)
        with pytest.raises(error):
            saver.resume(**how)
        with pytest.raises(LoadInterruptedError, match="broke off midway"):
            saver.save(2)


def test_the_one_that_does_not_take_its_state_is_undone_too():
    undone = []

    def part(label, fill=lambda: None):
        return Prepared(None, fill, lambda: undone.append(label))

    with pytest.raises(LoadRefusedError, match="second: does not take its state"):
        fill_all({"first": part("first"), "second": part("second", lambda: 1 // 0), "third": part("third")})
    assert undone == ["second", "first"]


@pytest.fixture
def quick(monkeypatch):
    """Signs of life often enough for a test to wait for them."""
    monkeypatch.setattr(torchrun, "_BEAT", 0.05)


def in_two_ranks(place, objects, work):
    """What `work(going_on)` returns at each of two ranks, which have these objects."""
    store = HashStore()

    def at(ranks):
        team = RanksTeam(Meeting(store, ranks.rank, 2))
        run = team.run(open_run(str(place)))
        try:
            return work(GoingOn(run, None, team, objects[ranks.rank], dict))
        finally:
            run.close()

    return in_ranks(2, at)


@pytest.mark.parametrize("error", [LoadRefusedError, CorruptError])
def test_what_one_rank_alone_cannot_read_is_known_to_all_before_the_next_is_read(tmp_path, quick, error):
    class Picky(Interrupted):
        problem = None

        def refuse(self, state):
            if self.problem is not None:
                raise self.problem

    class Noting(Picky):
        asked = False

        def refuse(self, state):
            self.asked = True

    with checkpointer(tmp_path / "run", training(), first=Picky(), second=Noting()) as saver:
        saver.save(1)
    every = [{"model": training().model, "progress:first": Picky(), "progress:second": Noting()} for _ in range(2)]
    every[1]["progress:first"].problem = error("it is broken here")

    def work(going_on):
        with pytest.raises(error, match="it is broken here"):
            going_on.fill("newest", Choices())
        return True

    assert in_two_ranks(tmp_path / "run", every, work) == [True, True]
    assert [one["progress:second"].asked for one in every] == [error is LoadRefusedError] * 2


def test_no_rank_saves_once_one_of_them_does_not_take_its_state(tmp_path, quick):
    class Choosy(Interrupted):
        willing = True

        def load_state_dict(self, state):
            if state["a"] == 1 and not self.willing:
                self.willing = True
                raise RuntimeError("no")

    with checkpointer(tmp_path / "run", training(), other=Choosy()) as saver:
        saver.save(1)
    every = [
        {"model": made.model, "sampler": made.loader, "progress:other": Choosy()} for made in (training(), training())
    ]
    every[1]["progress:other"].willing = False

    def work(going_on):
        with pytest.raises(LoadInterruptedError, match="other ranks may be filled"):
            going_on.fill("newest", Choices())
        with pytest.raises(LoadInterruptedError, match="broke off midway"):
            going_on.refuse_poisoned()
        return True

    assert in_two_ranks(tmp_path / "run", every, work) == [True, True]

"""Sets that have no numbers: exact after a stop by their own state, or refused before the first step."""

import json
import random
import warnings
from functools import cache

import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.training import Checkpointer, IterableLoader, KeyedLoader
from tests.training.small_training import (
    AUGMENT,
    BATCH,
    GROUP,
    SAMPLES,
    STEPS_AN_EPOCH,
    checkpointer,
    differing,
    seeded,
    training,
)

pytest.importorskip("torchdata")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore::DeprecationWarning")

END = 3 * STEPS_AN_EPOCH
VALUES = torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(1))


class Plain(IterableDataset):
    """A stream in an order of each epoch's own, read by each worker in part, whose samples are drawn at random."""

    def __init__(self, augment="none"):
        self.augment = augment
        self.epoch = self.at = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def order(self):
        order = list(range(SAMPLES))
        random.Random(self.epoch).shuffle(order)
        worker = get_worker_info()
        return order if worker is None else order[worker.id :: worker.num_workers]

    def __iter__(self):
        order = self.order()
        while self.at < len(order):
            self.at += 1
            yield VALUES[order[self.at - 1]] + 0.1 * AUGMENT[self.augment]()
        self.at = 0


class Stream(Plain):
    """The same, and it says where it is."""

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class Again(Plain):
    """Without a state, it begins anew each time."""

    def __iter__(self):
        for number in self.order():
            yield VALUES[number] + 0.1 * AUGMENT[self.augment]()


def streaming(augment, seed=0, kind=Stream, batch_size=BATCH, **loading):
    made = training(augment, seed)
    made.loader = IterableLoader(kind(augment), batch_size, seed=7, accumulate=GROUP, **loading)
    return made


def loading(workers, kind):
    how = {"0": {}, "2": {"num_workers": 2}, "persistent": {"num_workers": 2, "persistent_workers": True}}[workers]
    return {**how, "kind": kind, "replay": kind is Again}


@cache
def uninterrupted(augment, workers, kind):
    made = streaming(augment, **loading(workers, kind)).run(END)
    return made.losses, made.state()


def state_but_position(made):
    """The position is that of a process: what counts is what comes of it."""
    return {name: value for name, value in made.items() if name != "loader"}


STOPS = {"middle of epoch 1": 2, "its end": STEPS_AN_EPOCH, "epoch 2": STEPS_AN_EPOCH + 2}
CELLS = [
    (workers, augment, stop, kind)
    for workers in ("0", "2", "persistent")
    for augment in AUGMENT
    for stop in STOPS
    for kind in (Stream, Again)
]
PAIRWISE = [cell for number, cell in enumerate(CELLS) if number in (0, 9, 22, 29, 44, 51, 71)]


def exact(cell, run):
    workers, augment, stop, kind = cell
    how = loading(workers, kind)
    first = streaming(augment, **how)
    with checkpointer(run, first, save_every=1) as saver:
        first.run(STOPS[stop], saver)
    seen = list(first.losses)
    second = streaming(augment, seed=99, **how)
    torch.rand(7)
    with checkpointer(run, second) as saver:
        second.step = saver.resume().step
        second.run(END, saver)
    losses, state = uninterrupted(augment, workers, kind)
    assert seen + second.losses == losses
    assert differing(state_but_position(second.state()), state_but_position(state)) == []


def named(cell):
    return "-".join(part if isinstance(part, str) else part.__name__ for part in cell)


@pytest.mark.parametrize("cell", PAIRWISE, ids=named)
def test_a_training_on_a_stream_goes_on_bit_for_bit(cell, tmp_path):
    exact(cell, tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell not in PAIRWISE], ids=named)
def test_a_training_on_a_stream_goes_on_bit_for_bit_in_every_cell(cell, tmp_path):
    exact(cell, tmp_path / "run")


def test_every_sample_of_an_epoch_comes_once_whatever_the_stops():
    loader, seen = IterableLoader(Stream(), 3, seed=1), []
    while loader.epoch == 0:
        for batch in loader:
            seen.append(batch)
            break
        else:
            break
        fresh = IterableLoader(Stream(), 3, seed=1)
        fresh.load_state_dict(loader.state_dict())
        loader = fresh
    rows = torch.cat(seen)
    assert len(rows) == SAMPLES and len({tuple(row.tolist()) for row in rows}) == SAMPLES


def test_a_pass_that_was_broken_off_goes_on_where_it_was():
    loader = IterableLoader(Stream(), 4, seed=1, accumulate=2)
    first = [next(iter(loader)) for _ in range(2)]
    rest = list(loader)
    assert len(first) + len(rest) == 6 and loader.epoch == 1
    assert len({tuple(row.tolist()) for row in torch.cat([*first, *rest])}) == SAMPLES


def test_another_batch_size_goes_on_behind_the_last_sample_and_is_said(tmp_path):
    made = streaming("none")
    with checkpointer(tmp_path / "run", made, save_every=1) as saver:
        made.run(1, saver)
    other = streaming("none", batch_size=2)
    with checkpointer(tmp_path / "run", other) as saver:
        resumed = saver.resume()
    assert any("sampler: batch_size was 4 and is 2" in change for change in resumed.changed)
    assert resumed.plan.row("sampler: position").saved == "epoch 0, behind batch 2"
    rest = torch.cat(list(other.loader))
    had = {tuple(VALUES[number].tolist()) for number in Stream().order()[:8]}
    assert len(rest) == SAMPLES - 8 and not had & {tuple(row.tolist()) for row in rest}


OTHERWISE = {
    "workers": ({"num_workers": 1}, r"num_workers is 1 here and was 0"),
    "replay": ({"kind": Stream, "replay": True}, "replay is True here"),
    "drop_last": ({"drop_last": True}, "drop_last is True here"),
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_what_would_bring_samples_twice_is_refused_before_any_step(tmp_path, what):
    how, match = OTHERWISE[what]
    with checkpointer(tmp_path / "run", streaming("none")) as saver:
        saver.save(1)
    made = streaming("none", **how)
    before = state_but_position(made.state())
    with checkpointer(tmp_path / "run", made) as saver, pytest.raises(LoadRefusedError, match=match):
        saver.resume()
    assert differing(state_but_position(made.state()), before) == []


class Shuffled(Stream):
    """As `datasets` arranges a set that is shuffled through a buffer."""

    class BufferShuffledExamplesIterable:
        pass

    class Mapped:
        def __init__(self):
            self.ex_iterable = Shuffled.BufferShuffledExamplesIterable()

    @property
    def _ex_iterable(self):
        return Shuffled.Mapped()


REFUSED = {
    "no state": (Plain, "a Plain has no state_dict, so that a position is lost; with replay=True"),
    "a buffer": (Shuffled, "the state of a Shuffled that is shuffled leaves out the samples in its buffer"),
    "no order": (lambda: 3, "a int cannot be iterated"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_set_whose_position_cannot_be_had_again_is_refused_before_step_1(what):
    make, match = REFUSED[what]
    with pytest.raises(UsageError, match=match) as caught:
        IterableLoader(make(), seed=1)
    assert "\n" not in str(caught.value)
    if "replay" in str(caught.value):
        assert IterableLoader(make(), seed=1, replay=True)


def test_a_stream_has_no_place_in_a_loader_of_numbers_which_says_what_has():
    with pytest.raises(UsageError, match=r"has no samples under numbers.*give it to an IterableLoader"):
        KeyedLoader(Stream(), seed=1)


def test_a_loader_of_somebody_elses_is_refused_unless_it_is_taken_on_purpose(tmp_path, caplog):
    from torchdata.stateful_dataloader import StatefulDataLoader

    made = training()
    theirs = StatefulDataLoader(list(range(9)))
    with pytest.raises(UsageError, match=r"loader=: a StatefulDataLoader .*with inexact='warn'"):
        checkpointer(tmp_path / "run", made, loader=theirs)
    with checkpointer(tmp_path / "run", made, loader=theirs, inexact="warn") as saver:
        saver.save(1)
        assert "a StatefulDataLoader keeps a position of its own" in caplog.text
    with pytest.raises(UsageError, match="inexact=: refuse or warn is needed, not 'yes'"):
        checkpointer(tmp_path / "run", made, inexact="yes")


@pytest.fixture
def datasets():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("datasets")


def rows_of(datasets, folder, shuffled):
    for shard in range(2):
        lines = [json.dumps({"x": [float(number)] * 6}) for number in range(shard, SAMPLES, 2)]
        (folder / f"{shard}.jsonl").write_text("\n".join(lines))
    files = [str(folder / f"{shard}.jsonl") for shard in range(2)]
    rows = datasets.load_dataset("json", data_files=files, split="train", streaming=True, cache_dir=str(folder / "c"))
    return rows.shuffle(seed=3, buffer_size=5) if shuffled else rows


@pytest.mark.parametrize(("shuffled", "stop"), [(False, 2), (True, 2), (True, 4)])
def test_sets_of_datasets_are_exact_by_their_state_and_by_replay_where_they_are_shuffled(
    datasets, tmp_path, shuffled, stop
):
    def made(seed):
        seeded(seed)
        one = training(seed=seed)
        rows = rows_of(datasets, tmp_path, shuffled)
        if shuffled:
            with pytest.raises(UsageError, match="leaves out the samples in its buffer"):
                IterableLoader(rows, seed=7)
        collate = lambda rows: torch.tensor([row["x"] for row in rows]) + 0.1 * torch.randn(())  # noqa: E731
        one.loader = IterableLoader(rows, BATCH, seed=7, accumulate=GROUP, replay=shuffled, collate_fn=collate)
        return one

    whole = made(0).run(END)
    first = made(0)
    with checkpointer(tmp_path / "run", first, save_every=1) as saver:
        first.run(stop, saver)
    second = made(99)
    with Checkpointer(tmp_path / "run", **second.objects()) as saver:
        second.step = saver.resume().step
        second.run(END, saver)
    assert first.losses + second.losses == whole.losses

"""Data in the same order with the same randomness, whoever loads it: any workers, after any stop, at no cost."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.training import KeyedDataset, KeyedLoader, KeyedSampler
from ckpt_core.training.data.keyed_random import key_of, keyed
from ckpt_core.training.random_states import capture, restoring

torch.set_num_threads(1)

DRAWS = {
    "none": lambda: 0.0,
    "torch": lambda: torch.rand(()).item(),
    "numpy": lambda: float(np.random.rand()),
    "python": random.random,
    "all": lambda: torch.rand(()).item() + np.random.normal() + random.gauss(0, 1),
}


class Points(Dataset):
    """Numbered samples that draw, and count how often they are asked for."""

    def __init__(self, length=11, draw="all"):
        self.length, self.draw, self.asked = length, draw, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.asked.append(index)
        return torch.tensor([float(index), DRAWS[self.draw]()], dtype=torch.float64)


def loader(draw="all", length=11, **options):
    return KeyedLoader(Points(length, draw), **{"batch_size": 3, "seed": 5, **options})


def passes(source, epochs):
    return [[batch.tolist() for batch in source] for _ in range(epochs)]


WORKERS = {
    "0": {},
    "2": {"num_workers": 2},
    "2 persistent": {"num_workers": 2, "persistent_workers": True},
    "1 spawned": {"num_workers": 1, "multiprocessing_context": "spawn"},
}


@pytest.mark.parametrize("workers", ["2", "2 persistent"])
@pytest.mark.parametrize("draw", DRAWS)
def test_any_number_of_workers_gives_the_same_batches(draw, workers):
    assert passes(loader(draw, **WORKERS[workers]), 2) == passes(loader(draw), 2)


def test_workers_that_are_spawned_give_the_same_batches_too():
    assert passes(loader(**WORKERS["1 spawned"]), 1) == passes(loader(), 1)


@pytest.mark.parametrize("stop", range(9))
@pytest.mark.parametrize("drop_last", [False, True])
def test_a_loader_goes_on_behind_any_batch(stop, drop_last):
    whole = [(epoch, batch) for epoch, found in enumerate(passes(loader(drop_last=drop_last), 3)) for batch in found]
    first = loader(drop_last=drop_last)
    done = []
    while len(done) < stop:
        epoch = first.epoch
        for batch in first:
            done.append((epoch, batch.tolist()))
            if len(done) == stop:
                break
    second = loader(drop_last=drop_last)
    second.load_state_dict(first.state_dict())
    while second.epoch < 3:
        epoch = second.epoch
        done += [(epoch, batch.tolist()) for batch in second]
    assert done == whole


@pytest.mark.parametrize(("before", "after"), [("0", "2"), ("2", "0"), ("2 persistent", "0"), ("0", "2 persistent")])
def test_the_number_of_workers_may_change_at_a_stop(before, after):
    whole = passes(loader(), 2)
    first = loader(**WORKERS[before])
    done = [batch.tolist() for _, batch in zip(range(2), first, strict=False)]
    second = loader(**WORKERS[after])
    second.load_state_dict(first.state_dict())
    assert [done + [batch.tolist() for batch in second], [batch.tolist() for batch in second]] == whole


def test_what_was_prefetched_does_not_count_as_given_out():
    source = loader(num_workers=2, prefetch_factor=2)
    next(iter(source))
    assert (source.epoch, source.position) == (0, 3)


def test_samples_that_are_skipped_are_never_asked_for():
    source = loader(length=1000)
    source.load_state_dict({**source.state_dict(), "epoch": 4, "position": 990})
    assert len(list(source)) == 4
    assert len(source.dataset.asked) == 10
    assert source.epoch == 5 and source.position == 0


def test_each_epoch_has_another_order_and_draws_anew():
    first, second = passes(loader(), 2)
    order = [[int(sample[0]) for batch in found for sample in batch] for found in (first, second)]
    assert sorted(order[0]) == sorted(order[1]) == list(range(11))
    assert order[0] != order[1] and order[0] != sorted(order[0])
    drawn = [{int(sample[0]): sample[1] for batch in found for sample in batch} for found in (first, second)]
    assert all(drawn[0][number] != drawn[1][number] for number in drawn[0])
    assert len(set(drawn[0].values())) == 11
    assert passes(loader(seed=6), 1) != [first]


def test_without_shuffling_the_order_is_that_of_the_numbers():
    assert [int(sample[0]) for batch in loader(shuffle=False) for sample in batch] == list(range(11))


@pytest.mark.parametrize("workers", ["0", "2", "2 persistent"])
def test_loading_leaves_the_trainings_own_generators_alone(workers):
    source = loader(**WORKERS[workers])
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    before = (torch.rand(1).item(), np.random.rand(), random.random())
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    passes(source, 2)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == before


def test_a_sample_that_fails_puts_the_generators_back():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), keyed(key_of(1)):
        torch.rand(1)
        raise ZeroDivisionError
    assert torch.get_rng_state().equal(before)


def masked(samples):
    """As the collators of language models do, which mask at random."""
    return torch.stack(samples) * (torch.rand(len(samples), 2) > 0.5)


@pytest.mark.parametrize("workers", ["2", "2 persistent"])
def test_what_collates_at_random_is_the_same_in_every_process(workers):
    alone = passes(loader(collate_fn=masked), 2)
    assert passes(loader(collate_fn=masked, **WORKERS[workers]), 2) == alone
    assert alone != passes(loader(), 2)


def test_another_batch_size_leaves_no_sample_out_and_gives_none_twice(caplog):
    first = loader(batch_size=4)
    done = [int(sample[0]) for _, batch in zip(range(2), first, strict=False) for sample in batch]
    second = loader(batch_size=2)
    second.load_state_dict(first.state_dict())
    assert "batch_size was 4 and is 2" in caplog.text
    done += [int(sample[0]) for batch in second for sample in batch]
    assert sorted(done) == list(range(11)) and done == [int(s[0]) for batch in loader() for s in batch]


@pytest.mark.parametrize("other", [{"seed": 6}, {"shuffle": False}, {"length": 12}])
def test_other_data_is_refused_and_the_position_stays(other):
    first, second = loader(), loader(**other)
    next(iter(first))
    before = second.state_dict()
    with pytest.raises(LoadRefusedError, match=r"(seed|shuffle|samples) is .* and was .*nothing was changed"):
        second.load_state_dict(first.state_dict())
    assert second.state_dict() == before
    with pytest.raises(LoadRefusedError, match="not the state of a KeyedLoader"):
        second.load_state_dict({"epoch": 3})


def test_groups_of_batches_end_with_the_epoch():
    source = loader(accumulate=3)
    assert [[source.steps for _ in source] for _ in range(2)] == [[False, False, True, True]] * 2
    source = loader(accumulate=3)
    for _ in zip(range(2), source, strict=False):
        pass
    assert source.state_dict()["accumulated"] == 2
    other = loader(accumulate=3)
    other.load_state_dict(source.state_dict())
    assert [other.steps for _ in other] == [True, True]


def test_the_epoch_can_be_set_and_setting_the_present_one_changes_nothing():
    source = loader()
    next(iter(source))
    source.set_epoch(0)
    assert source.position == 3
    source.set_epoch(1)
    assert [batch.tolist() for batch in source] == passes(loader(), 2)[1]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(5))


@pytest.mark.parametrize(("data", "options"), [(Stream(), {}), ([1, 2], {"sampler": [0]}), ([1], {"generator": None})])
def test_what_cannot_be_numbered_is_refused_before_anything_is_loaded(data, options):
    with pytest.raises(UsageError, match=r"cannot be found again|follows from the seed"):
        KeyedLoader(data, seed=0, **options)


def test_a_dataset_and_a_sampler_work_in_a_loader_of_ones_own():
    sampler = KeyedSampler(11, 3, seed=5)
    found = [[sample.value.tolist() for sample in batch] for batch in _plain(sampler)]
    assert found == passes(loader(), 1)[0]
    sampler.position = 6
    assert [[sample.value.tolist() for sample in batch] for batch in _plain(sampler)] == found[2:]


def _plain(sampler):
    return torch.utils.data.DataLoader(KeyedDataset(Points(), 5), batch_sampler=sampler, collate_fn=list)


def test_random_states_come_back_and_are_tried_before_they_are_set():
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    random.gauss(0, 1), np.random.normal()
    held = capture()
    drawn = [draw() for draw in DRAWS.values()]
    restore = restoring(held)
    assert [draw() for draw in DRAWS.values()] != drawn, "restoring alone changes nothing"
    restore()
    assert [draw() for draw in DRAWS.values()] == drawn
    state = torch.get_rng_state()
    for broken in ({"cpu": held["cpu"][:-1]}, {"python": {"version": 3, "words": [1], "gauss": None}}, {"numpy": {}}):
        with pytest.raises(LoadRefusedError, match="nothing was changed"):
            restoring({**held, **broken})
    with pytest.raises(LoadRefusedError, match=r"2 cuda.*no accelerator"):
        restoring({**held, "cuda": [torch.zeros(16, dtype=torch.uint8)] * 2})
    assert torch.get_rng_state().equal(state)

"""A split that depends on its seed alone, and says so."""

import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.training import KeyedLoader, seeded_split


@given(st.integers(2, 60), st.data(), st.integers(0, 2**40))
def test_each_sample_is_in_one_part_and_the_parts_are_the_same_again(length, data, seed):
    size = data.draw(st.integers(1, length - 1))
    first, second = seeded_split(range(length), size, seed=seed), seeded_split(range(length), size, seed=seed)
    assert [list(part.numbers) for part in first] == [list(part.numbers) for part in second]
    assert sorted([*first[0].numbers, *first[1].numbers]) == list(range(length))
    assert len(first[1]) == size and [first[1][i] for i in range(size)] == list(first[1].numbers)


def test_the_seed_is_42_as_the_log_says_and_another_process_splits_the_same(caplog):
    with caplog.at_level(logging.INFO):
        train, validation = seeded_split(range(50))
    assert caplog.messages == [
        "🎲 Deterministic shuffle with seed=42",
        "train/val split: 45 to train on, 5 to validate on",
    ]
    code = "from ckpt_core.training import seeded_split; print(list(seeded_split(range(50))[1].numbers))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == str(
        list(validation.numbers)
    )
    assert len(train) == 45


@pytest.mark.parametrize("validation", [0, 50, 0.0, 1.0, -1, 0.001])
def test_a_part_without_samples_is_refused(validation):
    with pytest.raises(UsageError, match="each part needs one"):
        seeded_split(range(50), validation)


def test_a_loader_does_not_go_on_in_another_split():
    def loader(**how):
        return KeyedLoader(seeded_split(range(50), **how)[0], seed=1)

    state = loader().state_dict()
    loader().load_state_dict(state)
    with pytest.raises(LoadRefusedError, match="fingerprint"):
        loader(seed=43).load_state_dict(state)
    with pytest.raises(LoadRefusedError, match="samples is 40 here and was 45"):
        loader(validation=10).load_state_dict(state)

"""Saves in the background: each is of its own step, whatever the loop does meanwhile, and no error is lost."""

import logging
import os
import threading

import pytest
import torch

from ckpt_core.errors import CkptError, CorruptError
from ckpt_core.training import Checkpointer, state_dict
from tests.training.small_training import checkpointer, differing, training


def filled(value, count=4):
    """Objects of which every tensor has one value."""
    model = torch.nn.Sequential(*(torch.nn.Linear(40, 40) for _ in range(count)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for tensor in model.parameters():
        optimizer.state[tensor]["momentum_buffer"] = torch.empty_like(tensor)
    fill(model, optimizer, value)
    return model, optimizer


def fill(model, optimizer, value):
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.fill_(value)
            optimizer.state[tensor]["momentum_buffer"].fill_(value)


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.long)])
def test_what_is_overwritten_right_after_a_save_is_saved_as_it_was(tmp_path, count):
    model, optimizer = filled(0)
    with Checkpointer(tmp_path / "run", model=model, optimizer=optimizer, background=True) as saver:
        for step in range(1, count + 1):
            fill(model, optimizer, step)
            assert saver.save(step) is None
            fill(model, optimizer, -1)
    for step in range(1, count + 1):
        place = tmp_path / "run" / f"checkpoint-{step}"
        held = [*state_dict(place).values()]
        held += [fields["momentum_buffer"] for fields in state_dict(place, "optimizer")["state"].values()]
        assert len(held) == 16 and all(bool((tensor == step).all()) for tensor in held)
        assert state_dict(place, "progress")["parent"] == (f"checkpoint-{step - 1}" if step > 1 else None)


def test_a_training_that_saves_in_the_background_is_the_same(tmp_path):
    plain = training("torch").run(7)
    expected = plain.losses, plain.state()
    first = training("torch")
    with checkpointer(tmp_path / "run", first, save_every=1, keep=1, background=True) as saver:
        first.run(4, saver)
    second = training("torch", seed=99)
    with checkpointer(tmp_path / "run", second, save_every=1, keep=1, background=True) as saver:
        second.step = saver.resume().step
        second.run(7, saver)
    assert first.losses + second.losses == expected[0]
    assert differing(second.state(), expected[1]) == []


def test_the_buffers_are_the_same_from_save_to_save(tmp_path):
    model, optimizer = filled(1)
    with Checkpointer(tmp_path / "run", model=model, optimizer=optimizer, background=True) as saver:
        saver.save(1)
        saver.wait()
        held = {path: buffer.data_ptr() for path, buffer in saver._buffers._held.items()}
        saver.save(2)
        saver.wait()
        assert {path: buffer.data_ptr() for path, buffer in saver._buffers._held.items()} == held
    state = sum(t.nbytes for t in model.parameters()) * 2
    assert sum(buffer.nbytes for buffer in saver._buffers._held.values()) < state + 20_000


def test_an_error_is_raised_by_the_next_call_and_the_last_one_stays(tmp_path):
    model, optimizer = filled(1)
    with Checkpointer(tmp_path / "run", model=model, optimizer=optimizer, background=True, keep=1) as saver:
        saver.save(1)
        saver.wait()
        for call in (saver.wait, lambda: saver.save(3), lambda: later(saver)):
            fill(model, optimizer, float("nan"))
            saver.save(2)
            with pytest.raises(CorruptError, match="NaN"):
                call()
        fill(model, optimizer, 4)
        saver.save(4)
    assert [name for name in os.listdir(tmp_path / "run") if not name.startswith(".")] == ["checkpoint-4"]


def later(saver):
    while saver._writing._thread.is_alive():
        pass
    saver.after_step(3)


def test_an_error_at_the_end_is_raised_and_hides_no_other(tmp_path, caplog):
    model, _ = filled(float("nan"))
    with pytest.raises(CorruptError), Checkpointer(tmp_path / "a", model=model, background=True) as saver:
        saver.save(1)
    with pytest.raises(ZeroDivisionError), Checkpointer(tmp_path / "b", model=model, background=True) as saver:
        saver.save(1)
        raise ZeroDivisionError
    assert "the save in the background failed" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "ckpt-save"]


def test_weights_that_did_not_change_between_two_steps_are_said(tmp_path, caplog):
    model, optimizer = filled(1)
    with caplog.at_level(logging.WARNING), Checkpointer(tmp_path / "run", model=model, optimizer=optimizer) as saver:
        saver.save(1)
        fill(model, optimizer, 2)
        saver.save(2)
        assert "TR002" not in caplog.text
        saver.save(3)
    assert "TR002 step 3: the weights are those of step 2" in caplog.text


def test_a_folder_that_cannot_be_written_is_told_with_path_and_errno(tmp_path):
    model, _ = filled(1)
    (tmp_path / "run").write_text("a file")
    with (
        pytest.raises(CkptError, match=r"run: file exists.*\(EEXIST\)"),
        Checkpointer(tmp_path / "run", model=model) as saver,
    ):
        saver.save(1)

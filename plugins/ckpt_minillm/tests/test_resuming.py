"""A training that goes on: exactly where it stopped, in minimind's code or ours, and never half restored."""

import argparse

import pytest
import torch
from ckpt_minillm import add_checkpoint_arguments, init_from_args, save_checkpoint

from ckpt_core import CheckpointNotFoundError, LoadError


def parsed(*typed, stage="full_sft"):
    parser = argparse.ArgumentParser()
    add_checkpoint_arguments(parser, stage=stage)
    small = ("--hidden_size", "16", "--num_hidden_layers", "2", "--remote_dir", "remote")
    return parser.parse_args([*small, *typed])


def parts(model, *, lr=1e-2):
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)


def train(model, optimizer, scheduler, first, last):
    """Steps `first` to `last`: the data of a step depend on its number alone, as minimind's seeded sampler has it."""
    for step in range(first, last):
        tokens = torch.randint(32, (24,), generator=torch.Generator().manual_seed(step))
        loss = torch.nn.functional.cross_entropy(model.forward(tokens[:-1]), tokens[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def test_twenty_steps_are_ten_and_ten(minimind):
    whole = minimind.model()
    optimizer, scheduler = parts(whole)
    train(whole, optimizer, scheduler, 0, 20)

    first = minimind.model()
    begun, schedule = parts(first)
    train(first, begun, schedule, 0, 10)
    save_checkpoint(first, parsed(), optimizer=begun, scheduler=schedule, step=10)

    second = minimind.model(seed=7)
    gone_on, going = parts(second, lr=0.5)
    report = init_from_args(second, parsed("--from_resume", "1"), optimizer=gone_on, scheduler=going)
    assert (report.resumed, report.epoch, report.step) == (True, 0, 10)
    assert report.restored == ("model", "optimizer", "scheduler")
    train(second, gone_on, going, report.step, 20)
    assert equal(dict(whole.state_dict()), dict(second.state_dict()))
    assert equal(optimizer.state_dict(), gone_on.state_dict())
    assert equal(scheduler.state_dict(), going.state_dict())


def test_minimind_goes_on_from_our_file(minimind):
    model = minimind.model()
    optimizer, scheduler = parts(model)
    train(model, optimizer, scheduler, 0, 5)
    args = parsed("--out_dir", "checkpoints", stage="grpo")
    save_checkpoint(model, args, optimizer=optimizer, scheduler=scheduler, epoch=2, step=5, wandb_id="run7")

    found = minimind.lm_checkpoint(16, "grpo")
    again = minimind.model(seed=3)
    again.load_state_dict(found["model"])
    theirs, schedule = parts(again)
    theirs.load_state_dict(found["optimizer"])
    schedule.load_state_dict(found["scheduler"])
    assert (found["epoch"], found["step"], found["world_size"], found["wandb_id"]) == (2, 5, 1, "run7")
    assert equal(dict(model.state_dict()), dict(again.state_dict()))
    assert equal(optimizer.state_dict(), theirs.state_dict())
    assert minimind.lm_checkpoint(16, "grpo", world_size=2)["step"] == 2


@pytest.mark.parametrize("half", [True, False])
def test_we_go_on_from_minimind_s_file(half, minimind):
    model = minimind.model()
    optimizer, scheduler = parts(model)
    train(model, optimizer, scheduler, 0, 5)
    minimind.lm_checkpoint(16, "grpo", model, optimizer, 1, 5, half=half, scheduler=scheduler)

    again = minimind.model(seed=3)
    ours, schedule = parts(again)
    args = parsed("--out_dir", "checkpoints", "--from_resume", "1", stage="grpo")
    report = init_from_args(again, args, optimizer=ours, scheduler=schedule)
    assert (report.epoch, report.step, report.wandb_id) == (1, 5, None)
    expected = {name: tensor.half().float() if half else tensor for name, tensor in model.state_dict().items()}
    assert equal(expected, dict(again.state_dict()))
    assert equal(optimizer.state_dict(), ours.state_dict())


def test_the_critic_of_ppo_goes_on_too(minimind):
    actor, critic = minimind.model(), minimind.model(seed=1)
    (optimizer, scheduler), (critic_optimizer, critic_scheduler) = parts(actor), parts(critic)
    train(actor, optimizer, scheduler, 0, 2)
    train(critic, critic_optimizer, critic_scheduler, 0, 3)
    extra = {"critic_model": critic, "critic_optimizer": critic_optimizer, "critic_scheduler": critic_scheduler}
    args = parsed(stage="ppo_actor")
    save_checkpoint(actor, args, optimizer=optimizer, scheduler=scheduler, extra=extra, step=2)

    others = minimind.model(seed=5), minimind.model(seed=6)
    (o1, s1), (o2, s2) = parts(others[0]), parts(others[1])
    more = {"critic_model": others[1], "critic_optimizer": o2, "critic_scheduler": s2}
    args = parsed("--from_resume", "1", stage="ppo_actor")
    report = init_from_args(others[0], args, optimizer=o1, scheduler=s1, extra=more)
    assert set(report.restored) == {"model", "optimizer", "scheduler", *more}
    assert equal(dict(critic.state_dict()), dict(others[1].state_dict()))
    assert equal(critic_optimizer.state_dict(), o2.state_dict())
    assert s2.last_epoch == 3
    assert minimind.lm_checkpoint(16, "ppo_actor") is None  # it looks in checkpoints/, and only there


def test_more_ranks_go_on_from_a_converted_step_and_are_told(minimind, caplog):
    model = minimind.model()
    optimizer, _ = parts(model)
    save_checkpoint(model, parsed(), optimizer=optimizer, step=11, world_size=2)
    report = init_from_args(model, parsed("--from_resume", "1"), optimizer=optimizer, world_size=4)
    assert report.step == 5
    assert "step 11 of world size 2 is step 5 of world size 4" in caplog.text


def test_without_a_resume_file_1_raises_and_auto_begins_anew(minimind, caplog):
    minimind.save("out/full_sft_16.pth")
    with pytest.raises(CheckpointNotFoundError, match=r"out/full_sft_16_resume\.pth"):
        init_from_args(minimind.model(), parsed("--from_resume", "1"))
    with caplog.at_level("INFO"):
        report = init_from_args(minimind.model(), parsed("--from_resume", "auto"))
    assert (report.resumed, report.source) == (False, "out/full_sft_16.pth")
    assert "no resume file; the training begins anew" in caplog.text


def test_auto_never_takes_a_broken_resume_file_for_none(minimind):
    minimind.save("out/full_sft_16.pth")
    path = minimind.save_resume("out/full_sft_16_resume.pth")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(Exception, match="full_sft_16_resume") as caught:
        init_from_args(minimind.model(), parsed("--from_resume", "auto"))
    assert caught.value.exit_code == 4


def test_what_the_file_lacks_is_not_left_as_it_is(minimind):
    model = minimind.model()
    optimizer, scheduler = parts(model)
    save_checkpoint(model, parsed(), optimizer=optimizer, step=1)
    other = minimind.model(seed=4)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    optimizer, scheduler = parts(other)
    with pytest.raises(LoadError, match="has no scheduler"):
        init_from_args(other, parsed("--from_resume", "1"), optimizer=optimizer, scheduler=scheduler)
    assert equal(before, dict(other.state_dict()))
    assert optimizer.state_dict()["state"] == {}


def test_what_nobody_asked_for_is_named(minimind):
    model = minimind.model()
    optimizer, scheduler = parts(model)
    save_checkpoint(model, parsed(), optimizer=optimizer, scheduler=scheduler, step=1)
    report = init_from_args(model, parsed("--from_resume", "1"))
    assert (report.restored, report.left) == (("model",), ("optimizer", "scheduler"))
    assert "left: optimizer, scheduler" in report.summary()


def test_an_optimizer_of_other_parameters_changes_nothing(minimind):
    model = minimind.model()
    optimizer, scheduler = parts(model)
    train(model, optimizer, scheduler, 0, 1)
    save_checkpoint(model, parsed(), optimizer=optimizer, step=1)
    other = minimind.model(seed=4)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    fewer = torch.optim.AdamW(list(other.parameters())[:3])
    with pytest.raises(LoadError, match=r"optimizer has groups of \[\d+\] parameters, this one of \[3\]"):
        init_from_args(other, parsed("--from_resume", "1"), optimizer=fewer)
    assert equal(before, dict(other.state_dict()))


def test_a_disabled_scaler_does_not_pass_for_an_enabled_one(minimind):
    model = minimind.model()
    optimizer, _ = parts(model)
    off = torch.amp.GradScaler("cpu", enabled=False)
    save_checkpoint(model, parsed(), optimizer=optimizer, scaler=off, step=1)
    assert init_from_args(model, parsed("--from_resume", "1"), optimizer=optimizer, scaler=off).resumed
    with pytest.raises(LoadError, match="scaler was saved disabled"):
        init_from_args(
            model, parsed("--from_resume", "1"), optimizer=optimizer, scaler=torch.amp.GradScaler("cpu", enabled=True)
        )


def test_a_resume_file_given_as_the_path_starts_from_its_weights_alone(minimind):
    model = minimind.model()
    optimizer, _ = parts(model)
    save_checkpoint(model, parsed(), optimizer=optimizer, epoch=3, step=9)
    other = minimind.model(seed=4)
    report = init_from_args(other, parsed("--pretrained_path", "out/full_sft_16_resume.pth"), optimizer=optimizer)
    assert (report.resumed, report.epoch, report.step, report.restored) == (False, 0, 0, ("model",))
    assert equal(dict(model.state_dict()), dict(other.state_dict()))

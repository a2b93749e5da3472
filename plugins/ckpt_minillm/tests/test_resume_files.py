"""Resume files: read as minimind writes them, of every trainer and time, and written so that its code loads them."""

from pathlib import Path

import pytest
import torch

import ckpt_core
from ckpt_core import Confidence, Depth, Sampling, Severity, UnsupportedFormatError, UsageError


def trained(minimind, seed=0, *, steps=2, **how):
    """A model that has taken some steps, and the optimizer that took them."""
    model = minimind.model(seed=seed, **how)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = nn_loss(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, optimizer


def nn_loss(model):
    tokens = torch.arange(24) % 32
    return torch.nn.functional.cross_entropy(model.forward(tokens[:-1]), tokens[1:])


def labels(checkpoint):
    return [component.label for component in checkpoint.manifest.components]


def codes(report):
    return [(finding.code, finding.severity) for finding in report.findings]


def same(first, second):
    """Whether two trees of tensors and plain values are equal, types of tensors included."""
    if isinstance(first, torch.Tensor):
        return first.dtype is second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def plain(value):
    """Torch's OrderedDict of a module as a dict."""
    return dict(value) if isinstance(value, dict) else value


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("moe", [True, False])
def test_every_component_is_read_as_torch_reads_it(half, moe, minimind):
    from ckpt_minillm.trainer.restoring import state_of

    model, optimizer = trained(minimind, moe=moe)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    minimind.lm_checkpoint(16, "full_sft", model, optimizer, 1, 7, moe=moe, half=half, scaler=scaler)
    path = f"checkpoints/full_sft_16{'_moe' if moe else ''}_resume.pth"
    expected = torch.load(path, weights_only=True)
    checkpoint = ckpt_core.load(path)
    assert (checkpoint.match.format, checkpoint.match.confidence) == ("minillm-resume", Confidence.CERTAIN)
    assert labels(checkpoint) == ["model", "optimizer", "scaler", "progress"]
    assert same(dict(expected["model"]), state_of(checkpoint, "model"))
    assert same(expected["optimizer"], state_of(checkpoint, "optimizer"))
    assert checkpoint.component("scaler").state == {}
    assert checkpoint.component("progress").state == {"epoch": 1, "step": 7, "world_size": 1, "wandb_id": None}
    told = checkpoint.manifest.metadata
    assert (told["stage"], told["use_moe"], told["hidden_size"], told["num_hidden_layers"]) == ("full_sft", moe, 16, 2)
    assert codes(ckpt_core.verify(path, depth=Depth.VALUES).report) == []


def test_the_critic_of_ppo_is_components_of_its_own(minimind):
    model, optimizer = trained(minimind)
    critic, critic_optimizer = trained(minimind, 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR
    minimind.lm_checkpoint(
        16,
        "ppo_actor",
        model,
        optimizer,
        0,
        3,
        scheduler=schedule(optimizer, 10),
        critic_model=critic,
        critic_optimizer=critic_optimizer,
        critic_scheduler=schedule(critic_optimizer, 10),
    )
    checkpoint = ckpt_core.load("checkpoints/ppo_actor_16_resume.pth")
    assert labels(checkpoint) == [
        "model",
        "model:critic",
        "optimizer",
        "optimizer:critic",
        "scheduler",
        "scheduler:critic",
        "progress",
    ]
    assert checkpoint.component("progress").state == {"epoch": 0, "step": 3, "world_size": 1, "wandb_id": None}
    assert checkpoint.component("scheduler:critic").state["T_max"] == 10
    assert checkpoint.component("model").tensors.info("model.norm.weight").dtype.code == "F16"
    assert checkpoint.component("model:critic").tensors.info("model.norm.weight").dtype.code == "F32"


def test_an_optimizer_that_took_no_step_is_one_too(minimind):
    minimind.lm_checkpoint(16, "pretrain", *trained(minimind, steps=0), critic_optimizer=trained(minimind, steps=0)[1])
    checkpoint = ckpt_core.load("checkpoints/pretrain_16_resume.pth")
    assert labels(checkpoint) == ["model", "optimizer", "optimizer:critic", "progress"]
    assert checkpoint.component("optimizer:critic").state["state"] == {}


def test_what_a_lora_run_resumes_from_is_the_whole_model_and_its_weights_are_an_adapter(minimind):
    model, optimizer = trained(minimind, lora=4)
    minimind.lm_checkpoint(16, "lora_medical", model, optimizer)
    alone = {name: tensor for name, tensor in model.state_dict().items() if ".lora." in name}
    minimind.save("out/lora_medical_16.pth", alone)
    found = {
        place: (labels(ckpt_core.load(place))[0], ckpt_core.load(place).manifest.metadata)
        for place in (
            "out/lora_medical_16.pth",
            "checkpoints/lora_medical_16.pth",
            "checkpoints/lora_medical_16_resume.pth",
        )
    }
    assert [label for label, _ in found.values()] == ["adapter", "model", "model"]
    assert all(metadata["lora_rank"] == 4 for _, metadata in found.values())
    assert ["hidden_size" in metadata for _, metadata in found.values()] == [False, True, True]


def test_what_is_copied_is_read_by_minimind_as_what_it_wrote(minimind, tmp_path):
    model, optimizer = trained(minimind)
    critic, _ = trained(minimind, 1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    minimind.lm_checkpoint(16, "ppo_actor", model, optimizer, 2, 9, scheduler=schedule, critic_model=critic, own=[1, 2])
    before = torch.load("checkpoints/ppo_actor_16_resume.pth", weights_only=True)
    ckpt_core.save(
        ckpt_core.load("checkpoints/ppo_actor_16_resume.pth"), "copy/ppo_actor_16_resume.pth", format="minillm-resume"
    )
    after = torch.load("copy/ppo_actor_16_resume.pth", weights_only=True)
    assert list(after)[:6] == ["model", "optimizer", "epoch", "step", "world_size", "wandb_id"]
    assert before.keys() == after.keys()
    assert all(same(plain(before[key]), after[key]) for key in before)


@pytest.mark.parametrize(("ranks", "step"), [(1, 20), (2, 10), (3, 6), (4, 5), (8, 2)])
def test_the_step_of_another_number_of_ranks_is_minimind_s_and_said(ranks, step, minimind):
    minimind.lm_checkpoint(16, "dpo", *trained(minimind), 1, 10, world_size=2)
    place = "checkpoints/dpo_16_resume.pth"
    checkpoint = ckpt_core.load(place, options={"world_size": ranks})
    assert checkpoint.component("progress").state["step"] == step
    assert minimind.lm_checkpoint(16, "dpo", world_size=ranks)["step"] == step
    found = [finding for finding in checkpoint.manifest.findings if finding.code == "MM006"]
    if ranks == 2:
        assert found == []
    else:
        assert [(finding.severity, finding.message) for finding in found] == [
            (
                Severity.INFO,
                f"dpo_16_resume.pth: step 10 of world size 2 is step {step} of world size {ranks}",
            )
        ]
    # A copy is not converted a second time.
    ckpt_core.save(checkpoint, "copy/dpo_16_resume.pth", format="minillm-resume")
    again = ckpt_core.load("copy/dpo_16_resume.pth", options={"world_size": ranks})
    assert again.component("progress").state["step"] == step


def test_a_world_of_no_ranks_is_refused(minimind):
    with pytest.raises(UsageError, match="world_size 0"):
        ckpt_core.load(str(minimind.save_resume("pretrain_16_resume.pth")), options={"world_size": 0})


@pytest.mark.parametrize(
    ("state", "lacking"),
    [
        ({"model": {"w": torch.ones(2)}, "optimizer": {"state": {}, "param_groups": []}}, "epoch, step"),
        ({"model": {"w": torch.ones(2)}, "epoch": 0, "step": 1}, "optimizer"),
        ({"w": torch.ones(2)}, "optimizer, epoch, step"),
    ],
)
def test_mm005_what_no_training_goes_on_from(state, lacking, tmp_path):
    torch.save(state, tmp_path / "pretrain_512_resume.pth")
    report = ckpt_core.verify(str(tmp_path / "pretrain_512_resume.pth")).report
    assert codes(report) == [("MM005", Severity.ERROR)]
    assert f"has no {lacking}" in report.findings[0].message


@pytest.mark.parametrize("sampling", [None, Sampling(1.0)])
def test_checksums_of_moments_are_compared_in_the_one_pass_over_the_bytes(sampling, minimind):
    model, optimizer = trained(minimind)
    minimind.lm_checkpoint(16, "dpo", model, optimizer, 1, 10)
    path = Path("checkpoints/dpo_16_resume.pth")
    data = bytearray(path.read_bytes())
    data[data.index(optimizer.state_dict()["state"][1]["exp_avg"].numpy().tobytes())] ^= 1
    path.write_bytes(data)
    found = ckpt_core.verify(str(path), depth=Depth.BYTES, sampling=sampling).report.findings
    assert [(finding.code, finding.tensor) for finding in found] == [("ZP004", "optimizer.state.1.exp_avg")]


def test_names_are_held_against_the_model(minimind):
    path = minimind.save_resume("pretrain_512_resume.pth")
    assert codes(ckpt_core.verify(str(path)).report) == [("MM001", Severity.ERROR)]
    path = minimind.save_resume("pretrain_16_moe_resume.pth")
    assert codes(ckpt_core.verify(str(path)).report) == [("MM002", Severity.ERROR)]


@pytest.mark.parametrize(
    ("name", "leave_out", "error", "message"),
    [
        ("full_sft_16.pth", (), UsageError, "named .*_resume.pth"),
        ("full_sft_32_resume.pth", (), UsageError, "hidden size 32, the tensors say 16"),
        ("full_sft_16_resume.pth", ("optimizer",), UnsupportedFormatError, "needs model, optimizer, progress"),
        ("full_sft_16_resume.pth", ("progress",), UnsupportedFormatError, "needs model, optimizer, progress"),
    ],
)
def test_what_minimind_could_not_go_on_from_is_not_written(name, leave_out, error, message, minimind, tmp_path):
    model, optimizer = trained(minimind)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": {"epoch": 0, "step": 1}}
    kept = {key: value for key, value in state.items() if key not in leave_out}
    with pytest.raises(error, match=message):
        ckpt_core.save(kept, str(tmp_path / name), format="minillm-resume")
    assert not (tmp_path / name).exists()


def test_components_that_minimind_has_no_key_for_are_refused(minimind, tmp_path):
    model, optimizer = trained(minimind)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": {"epoch": 0, "step": 1},
        "ema": model.state_dict(),
    }
    with pytest.raises(UnsupportedFormatError, match="no key for ema"):
        ckpt_core.save(state, str(tmp_path / "dpo_16_resume.pth"), format="minillm-resume")


def test_a_cast_may_reach_the_weights_and_never_the_moments(minimind):
    from ckpt_core.schema.dtypes import DType
    from ckpt_core.verbs.convert import convert

    minimind.lm_checkpoint(16, "dpo", *trained(minimind), half=False)
    source = "checkpoints/dpo_16_resume.pth"
    with pytest.raises(
        UsageError, match=r"optimizer, .*would be cast to F16.*dtypes=\['F16'\] casts the weights alone"
    ):
        convert(source, "copy/dpo_16_resume.pth", to="minillm-resume", dtypes=["optimizer/*=F16"])
    convert(source, "copy/dpo_16_resume.pth", to="minillm-resume", dtypes=["F16"])
    copy = ckpt_core.load("copy/dpo_16_resume.pth")
    assert {info.dtype for _, info in copy.component("model").tensors.infos()} == {DType.F16}
    assert {info.dtype for _, info in copy.component("optimizer").tensors.infos()} == {DType.F32}


def test_what_a_trainer_makes_again_is_no_lack_and_what_is_lost_is(minimind):
    from ckpt_core.schema.roles import Profile
    from ckpt_core.schema.verification import VerifyRequest
    from ckpt_core.verbs.load import find
    from ckpt_core.verbs.verify import verify_place

    model, optimizer = trained(minimind)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    minimind.lm_checkpoint(16, "full_sft", model, optimizer, 0, 5, scaler=torch.amp.GradScaler("cpu", enabled=False))
    minimind.lm_checkpoint(16, "grpo", model, optimizer, 0, 5, scheduler=schedule)
    minimind.lm_checkpoint(16, "own", model, optimizer, 0, 5)
    summaries = {}
    for stage in ("full_sft", "grpo", "own"):
        for profile in (Profile.RESUME, Profile.EXACT_RESUME):
            place = find(f"checkpoints/{stage}_16_resume.pth")
            assessment = verify_place(place, VerifyRequest(profile=profile)).report.assessment
            summaries[stage, profile.value] = assessment.summary
    lost = "scheduler absent (the optimizer's groups have initial_lr, which a scheduler leaves there)"
    assert summaries == {
        ("full_sft", "resume"): "COMPLETE for resume; finite: not checked",
        ("full_sft", "exact-resume"): "PARTIAL for exact-resume: rng absent",
        ("grpo", "resume"): "COMPLETE for resume; finite: not checked",
        ("grpo", "exact-resume"): "PARTIAL for exact-resume: rng absent",
        ("own", "resume"): f"PARTIAL for resume: {lost}",
        ("own", "exact-resume"): f"PARTIAL for exact-resume: {lost}, rng absent",
    }

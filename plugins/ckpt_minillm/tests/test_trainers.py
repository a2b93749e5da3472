"""The three calls that a trainer makes: its options, where its model starts, and what it saves."""

import argparse
import logging
import os

import pytest
import torch
from ckpt_minillm import add_checkpoint_arguments, init_from_args, save_checkpoint

import ckpt_core
from ckpt_core import CheckpointNotFoundError, Depth, LoadError, UsageError

STAGES = {
    "pretrain": "pretrain",
    "full_sft": "pretrain",
    "dpo": "full_sft",
    "ppo_actor": "reason",
    "grpo": "full_sft",
    "spo": "full_sft",
    "full_dist": "full_sft",
    "reason": "rlhf",
    "lora_identity": "full_sft",
}
"""The nine stages, and what each starts from in MiniLLM's scripts."""

SMALL = ("--hidden_size", "16", "--num_hidden_layers", "2", "--remote_dir", "remote")


def parsed(*typed, stage="full_sft", load_stage="pretrain", small=SMALL, **how):
    parser = argparse.ArgumentParser()
    add_checkpoint_arguments(parser, stage=stage, load_stage=load_stage, **how)
    return parser.parse_args([*small, *typed])


def marked(minimind, place, value, **how):
    """Weights whose norm says which file they came from."""
    tensors = minimind.tensors(**how)
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], value)
    minimind.save(place, tensors)


def mark(model):
    return model.state_dict()["model.norm.weight"][0].item()


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("stage", STAGES)
def test_each_flag_and_the_variable_change_which_file_is_loaded(stage, minimind, monkeypatch):
    source = STAGES[stage]
    marked(minimind, "given/mine.pth", 1)
    marked(minimind, "env/mine.pth", 2)
    marked(minimind, f"remote/{source}_16.pth", 3)
    marked(minimind, f"elsewhere/{source}_16.pth", 4)
    marked(minimind, f"out/{source}_16.pth", 5)
    marked(minimind, "out/stand_in_16.pth", 6)
    marked(minimind, f"out/{source}_16_moe.pth", 7, moe=True)

    def loaded(*typed, moe=False):
        model = minimind.model(moe=moe)
        report = init_from_args(model, parsed(*typed, stage=stage, load_stage=source))
        assert report.load.coverage == 1.0
        return mark(model)

    assert loaded() == 3
    assert loaded("--pretrained_path", "given/mine.pth") == 1
    assert loaded("--prefer", "local") == 5
    assert loaded("--load_from_remote", "--remote_dir", "elsewhere") == 4
    assert loaded("--out_dir", "elsewhere", "--prefer", "local") == 4
    assert loaded("--from_weight", "gone", "--fallback_stages", "missing,stand_in") == 6
    assert loaded("--use_moe", moe=True) == 7
    assert loaded("--use_moe", "False") == 3
    monkeypatch.setenv("MINILLM_PRETRAINED_PATH", "env/mine.pth")
    assert loaded() == 2
    assert loaded("--load_from_remote") == 3
    assert loaded("--pretrained_path", "given/mine.pth") == 1


@pytest.mark.parametrize(
    ("variable", "value", "name", "read"),
    [
        ("MODEL_HIDDEN_SIZE", "768", "hidden_size", 768),
        ("MODEL_NUM_LAYERS", "4", "num_hidden_layers", 4),
        ("USE_MOE", "true", "use_moe", True),
        ("USE_MOE", "False", "use_moe", False),
        ("OUT_DIR", "/data/out", "out_dir", "/data/out"),
    ],
)
def test_variables_of_the_scripts_are_the_defaults_and_flags_go_before_them(variable, value, name, read, monkeypatch):
    assert {"hidden_size": 512, "num_hidden_layers": 8, "use_moe": False, "out_dir": "out"}[name] == getattr(
        parsed(small=()), name
    )
    monkeypatch.setenv(variable, value)
    assert getattr(parsed(small=()), name) == read
    typed = {"hidden_size": "64", "num_hidden_layers": "2", "use_moe": "no", "out_dir": "here"}[name]
    assert str(getattr(parsed(f"--{name}", typed, small=()), name)) in (typed, "False")


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ((), False),
        (("--use_moe",), True),
        (("--use_moe", "False"), False),
        (("--use_moe", "true"), True),
        (("--use_moe=0",), False),
        (("--use_moe", "1"), True),
    ],
)
def test_use_moe_means_what_a_person_types(typed, read):
    assert parsed(*typed).use_moe is read


@pytest.mark.parametrize(
    "typed",
    [
        ("--use_moe", "perhaps"),
        ("--hidden_size", "0"),
        ("--hidden_size", "5e2"),
        ("--prefer", "mtime"),
        ("--from_resume", "yes"),
        ("--weights_dtype", "int8"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line_and_exit_2(typed, capsys):
    with pytest.raises(SystemExit) as caught:
        parsed(*typed)
    assert caught.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert typed[0] in last
    assert typed[1] in last


def test_a_wrong_variable_is_told_as_if_it_were_typed(monkeypatch, capsys):
    monkeypatch.setenv("MODEL_HIDDEN_SIZE", "large")
    with pytest.raises(SystemExit):
        parsed(small=())
    assert "argument --hidden_size: 'large' is not a whole number" in capsys.readouterr().err


def test_options_that_a_parser_has_stay_but_for_a_bool_that_reads_false_as_true():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden_size", type=int, default=24)
    parser.add_argument("--out_dir", default="../out")
    add_checkpoint_arguments(parser, stage="dpo")
    args = parser.parse_args([])
    assert (args.hidden_size, args.out_dir, args.from_weight) == (24, "../out", "dpo")
    parser = argparse.ArgumentParser()
    parser.add_argument("--use_moe", type=bool, default=False)
    with pytest.raises(UsageError, match="--use_moe: declared with type=bool"):
        add_checkpoint_arguments(parser, stage="dpo")


def test_nothing_found_raises_with_what_was_tried_and_what_to_do(minimind):
    model = minimind.model()
    before = snapshot(model)
    with pytest.raises(FileNotFoundError) as caught:
        init_from_args(model, parsed())
    for words in ("remote/pretrain_16.pth", "out/pretrain_16.pth", "--pretrained_path", "--allow_random_init"):
        assert words in str(caught.value)
    assert same(before, snapshot(model))


@pytest.mark.parametrize("typed", [("--allow_random_init",), ("--from_weight", "none"), ()])
def test_random_weights_are_kept_only_where_that_was_asked_for_by_name(typed, minimind, caplog):
    model = minimind.model()
    before = snapshot(model)
    report = init_from_args(model, parsed(*typed, allow_random_init=not typed))
    assert (report.random, report.source, report.load) == (True, None, None)
    assert "random weights" in caplog.text
    assert same(before, snapshot(model))


@pytest.mark.parametrize("typed", [("--pretrained_path", "nope.pth"), ("--load_from_remote",)])
def test_what_was_named_and_is_missing_raises_even_where_random_weights_are_allowed(typed, minimind):
    marked(minimind, "out/pretrain_16.pth", 1)
    with pytest.raises(CheckpointNotFoundError):
        init_from_args(minimind.model(), parsed("--allow_random_init", *typed))


def test_a_variable_that_leads_nowhere_raises_even_where_random_weights_are_allowed(minimind, monkeypatch):
    monkeypatch.setenv("MINILLM_PRETRAINED_PATH", "/nope.pth")
    with pytest.raises(CheckpointNotFoundError, match=r"/nope\.pth"):
        init_from_args(minimind.model(), parsed("--allow_random_init"))


@pytest.mark.parametrize(
    ("stored", "typed", "message"),
    [
        ({"hidden": 24}, (), "hidden size 24, not 16"),
        ({"layers": 4}, (), "4 layers, not 2"),
        ({"moe": True}, (), "experts, not a dense model"),
        ({}, ("--use_moe",), "a dense model, not experts"),
    ],
)
def test_a_file_that_contradicts_the_flags_is_refused_and_changes_nothing(stored, typed, message, minimind):
    marked(minimind, "given/x.pth", 1, **stored)
    minimind.save("given/pretrain_16.pth", minimind.tensors(**stored))
    for name in ("x.pth", "pretrain_16.pth"):
        model = minimind.model(moe="--use_moe" in typed)
        before = snapshot(model)
        with pytest.raises((LoadError, UsageError), match=message):
            init_from_args(model, parsed("--pretrained_path", f"given/{name}", *typed))
        assert same(before, snapshot(model))


def test_a_stage_mismatch_warns(minimind, monkeypatch, caplog):
    marked(minimind, "env/pretrain_16.pth", 1)
    monkeypatch.setenv("MINILLM_PRETRAINED_PATH", "env/pretrain_16.pth")
    report = init_from_args(minimind.model(), parsed(stage="dpo", load_stage="full_sft"))
    assert "is a pretrain file, asked was full_sft" in caplog.text
    assert "is a pretrain file, asked was full_sft" in report.trace


def test_names_may_differ_only_where_that_is_said(minimind):
    marked(minimind, "out/pretrain_16.pth", 1)
    critic = minimind.model()
    critic.value_head = torch.nn.Linear(16, 1)
    with pytest.raises(LoadError, match=r"value_head\.weight.*allow_missing"):
        init_from_args(critic, parsed())
    report = init_from_args(critic, parsed(), allow_missing=["value_head.*"])
    assert report.load.missing == ("value_head.weight", "value_head.bias")
    older = minimind.model(qk_norm=False)
    with pytest.raises(LoadError, match="allow_unexpected"):
        init_from_args(older, parsed())
    assert len(init_from_args(older, parsed(), allow_unexpected=["*_norm.weight"]).load.unexpected) == 4


def test_a_lora_starts_from_its_base_and_keeps_its_own_values(minimind):
    marked(minimind, "out/full_sft_16.pth", 1)
    model = minimind.model(lora=4)
    factors = {name: tensor.clone() for name, tensor in model.state_dict().items() if ".lora." in name}
    report = init_from_args(model, parsed(stage="lora_identity", load_stage="full_sft"))
    assert set(report.load.missing) == set(factors)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in factors.items())


def test_another_stage_is_loaded_beside_for_a_teacher(minimind):
    marked(minimind, "out/full_sft_16.pth", 1)
    marked(minimind, "out/teacher_16.pth", 2)
    teacher = minimind.model()
    init_from_args(teacher, parsed(load_stage="full_sft"), stage="teacher")
    assert mark(teacher) == 2


def test_weights_are_what_a_trainer_of_minimind_loads(minimind):
    model = minimind.model()
    reports = save_checkpoint(model, parsed(), epoch=0, step=3)
    assert [os.path.relpath(path) for path in reports.paths] == ["out/full_sft_16.pth"]
    found = torch.load("out/full_sft_16.pth", weights_only=True)
    assert same(found, snapshot(model))
    assert ckpt_core.verify("out/full_sft_16.pth", depth=Depth.VALUES).report.findings == ()


@pytest.mark.parametrize(("dtype", "width"), [("float16", torch.float16), (torch.bfloat16, torch.bfloat16)])
def test_a_narrower_type_is_of_the_weights_alone_and_only_when_named(dtype, width, minimind):
    model = minimind.model()
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(model, parsed(), optimizer=optimizer, weights_dtype=dtype)
    weights = torch.load("out/full_sft_16.pth", weights_only=True)
    resume = torch.load("out/full_sft_16_resume.pth", weights_only=True)["model"]
    assert {tensor.dtype for tensor in weights.values()} == {width}
    assert all(torch.equal(weights[name], tensor.to(width)) for name, tensor in model.state_dict().items())
    assert {tensor.dtype for tensor in resume.values()} == {torch.float32}


def test_a_value_that_half_precision_cannot_hold_refuses_the_whole_save(minimind, caplog):
    args = parsed("--weights_dtype", "float16")
    model = minimind.model()
    save_checkpoint(model, args)
    before = torch.load("out/full_sft_16.pth", weights_only=True)
    model.model.norm.weight.data[3] = 70_000.0
    with pytest.raises(LoadError, match=r"model\.norm\.weight: 1 finite values are too large for float16") as caught:
        save_checkpoint(model, args)
    assert caught.value.code == "CA001"
    assert same(before, torch.load("out/full_sft_16.pth", weights_only=True))
    save_checkpoint(model, args, allow_overflow=True)
    assert torch.load("out/full_sft_16.pth", weights_only=True)["model.norm.weight"][3] == torch.inf
    assert "become infinite" in caplog.text


def test_an_adapter_is_saved_alone_and_its_training_whole(minimind):
    model = minimind.model(lora=4)
    args = parsed(stage="lora_identity")
    save_checkpoint(model, args, adapter=True, optimizer=torch.optim.AdamW(model.parameters()))
    weights = torch.load("out/lora_identity_16.pth", weights_only=True)
    assert set(weights) == {name for name in model.state_dict() if ".lora." in name}
    assert len(torch.load("out/lora_identity_16_resume.pth", weights_only=True)["model"]) == len(model.state_dict())
    with pytest.raises(UsageError, match="no tensor of a LoRA"):
        save_checkpoint(minimind.model(), args, adapter=True)


def test_a_model_of_another_size_than_its_name_is_not_saved(minimind):
    with pytest.raises(UsageError, match="hidden size 16, the tensors say 24"):
        save_checkpoint(minimind.model(hidden=24), parsed())
    assert not os.path.exists("out/full_sft_16.pth")


def test_wrapped_and_compiled_models_are_saved_under_their_own_names(minimind):
    model = minimind.model()
    save_checkpoint(torch.nn.DataParallel(model), parsed())
    assert same(torch.load("out/full_sft_16.pth", weights_only=True), snapshot(model))


def test_the_newest_is_taken_by_the_step_that_was_recorded(minimind):
    model = minimind.model()
    for folder, epoch, step, value in (("remote", 1, 5, 1.0), ("out", 0, 900, 2.0)):
        model.model.norm.weight.data.fill_(value)
        args = parsed("--out_dir", folder, stage="pretrain")
        save_checkpoint(model, args, epoch=epoch, step=step)
    os.utime("out/pretrain_16.pth")
    started = minimind.model()
    report = init_from_args(started, parsed("--prefer", "newest"))
    assert mark(started) == 1.0
    assert "recorded epoch 1, step 5" in report.trace
    model.model.norm.weight.data.fill_(3.0)
    save_checkpoint(model, parsed("--out_dir", "out", stage="pretrain"), epoch=1, step=6)
    init_from_args(started, parsed("--prefer", "newest"))
    assert mark(started) == 3.0


def test_without_a_recorded_step_the_newest_is_an_error_never_a_guess(minimind):
    marked(minimind, "out/pretrain_16.pth", 1)
    with pytest.raises(UsageError, match=r"prefer=newest: out/pretrain_16\.pth does not record its step"):
        init_from_args(minimind.model(), parsed("--prefer", "newest"))
    save_checkpoint(minimind.model(), parsed(stage="pretrain"), step=4)
    with open("out/pretrain_16.pth", "ab") as file:
        file.write(b"x")  # the seal is of another file now
    with pytest.raises(UsageError, match="does not record its step"):
        init_from_args(minimind.model(), parsed("--prefer", "newest"))


def test_a_logger_or_a_function_is_told(minimind, caplog):
    marked(minimind, "out/pretrain_16.pth", 1)
    lines = []
    init_from_args(minimind.model(), parsed(), logger=lines.append)
    assert any("tensors matched (100.0%)" in line for line in lines)
    with caplog.at_level("INFO"):
        init_from_args(minimind.model(), parsed(), logger=logging.getLogger("mine"))
    assert any(record.name == "mine" for record in caplog.records)

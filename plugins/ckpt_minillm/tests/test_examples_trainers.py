"""The nine trainers of examples/minillm: where each starts, what it learns, and that it goes on as if never stopped."""

import importlib
import runpy
from pathlib import Path

import pytest
import torch
from minillm.lora import unchanged
from minillm.model import Config, MiniLLM

import ckpt_core

STAGES = {
    "pretrain": ("pretrain", "pretrain"),
    "full_sft": ("pretrain", "full_sft"),
    "dpo": ("full_sft", "rlhf"),
    "ppo": ("full_sft", "ppo_actor"),
    "grpo": ("full_sft", "grpo"),
    "spo": ("full_sft", "spo"),
    "distillation": ("full_sft", "full_dist"),
    "distill_reason": ("rlhf", "reason"),
    "lora": ("full_sft", "lora_identity"),
}
"""Each trainer, the stage it starts from, and the stage it writes."""

SHORT = ("--max_seq_len", "24", "--batch_size", "2", "--log_interval", "100")
SAMPLING = ("ppo", "grpo", "spo")


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """Models of a size that a step takes milliseconds with, and no place that is the machine's own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("MODEL_HIDDEN_SIZE", "32")
    monkeypatch.setenv("MODEL_NUM_LAYERS", "1")
    monkeypatch.setenv("MINILLM_REMOTE_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("OUT_DIR", str(tmp_path / "out"))
    yield
    torch.set_num_threads(threads)


def save(place, *, seed=0, moe=False):
    """A model's weights, told apart by their seed, where they are asked for; the state is returned."""
    torch.manual_seed(seed)
    state = MiniLLM(Config(32, 1, moe)).state_dict()
    place = Path(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, place)
    return state


def train(name, *flags):
    """Run a trainer in this process."""
    more = ["--max_gen_len", "4"] if name in SAMPLING else []
    if name == "distillation" and "--teacher_path" not in flags:
        save("teacher/full_sft_32.pth", seed=99)
        more += ["--teacher_path", "teacher/full_sft_32.pth"]
        if "--use_moe" in flags:
            save("teacher/full_sft_32_moe.pth", seed=99, moe=True)
            more[-1] = "teacher/full_sft_32_moe.pth"
    return importlib.import_module(f"train_{name}").main([*SHORT, *more, *map(str, flags)])


def resume_file(name, moe=""):
    return f"out/{STAGES[name][1]}_32{moe}_resume.pth"


def model_in(place):
    tensors = ckpt_core.load(str(place)).to_torch("model", separate=True)
    return {key: tensor for key, tensor in tensors.items() if ".lora." not in key}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("way", ["explicit", "remote", "remote_dir", "environment", "local", "use_moe"])
def test_each_flag_and_the_variable_change_what_is_loaded(name, way, monkeypatch):
    """With a rate of 0 a trainer saves what it loaded."""
    file = f"{STAGES[name][0]}_32.pth"
    wanted = {
        "local": save(f"out/{file}", seed=1),
        "remote": None if way == "local" else save(f"home/{file}", seed=2),
        "remote_dir": save(f"other/{file}", seed=3),
        "environment": save(f"env/{file}", seed=4),
        "explicit": save(f"named/{file}", seed=5),
        "use_moe": save(f"home/{file.replace('.pth', '_moe.pth')}", seed=6, moe=True),
    }[way]
    flags = {
        "explicit": ["--pretrained_path", f"named/{file}"],
        "remote": ["--load_from_remote"],
        "remote_dir": ["--remote_dir", "other"],
        "use_moe": ["--use_moe"],
    }.get(way, [])
    if way in ("explicit", "environment"):
        monkeypatch.setenv("MINILLM_PRETRAINED_PATH", f"env/{file}")
    train(name, "--learning_rate", "0", "--max_steps", "1", *flags)
    assert unchanged(wanted, model_in(resume_file(name, "_moe" if way == "use_moe" else "")))


@pytest.mark.parametrize("name", [name for name in STAGES if name != "pretrain"])
def test_nothing_to_start_from_is_an_error_and_nothing_is_written(name):
    with pytest.raises(ckpt_core.CheckpointNotFoundError, match=r"--allow_random_init"):
        train(name, "--max_steps", "1")
    assert not Path("out").exists()


def run_script(name, monkeypatch, *flags):
    """Run a trainer's script as a command; its exit code."""
    script = str(Path(importlib.import_module(f"train_{name}").__file__))
    more = ["--teacher_path", f"out/{STAGES[name][0]}_32.pth"] if name == "distillation" else []
    monkeypatch.setattr("sys.argv", [script, *SHORT, *more, *flags])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    return ended.value.code


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "none/rows.jsonl: No such file or directory; name a file of JSON lines with --data_path"),
        ("\n", "rows.jsonl: holds no rows; name a file of JSON lines with --data_path"),
        ('{"text": "a"}\n[1]\n', "rows.jsonl, line 2: not a JSON object; mend the line, or name another file with"),
    ],
)
def test_data_that_cannot_be_read_ends_a_script_with_one_line(name, content, message, monkeypatch, capsys):
    save(f"out/{STAGES[name][0]}_32.pth")
    if content is not None:
        Path("rows.jsonl").write_text(content)
    path = "none/rows.jsonl" if content is None else "rows.jsonl"
    assert run_script(name, monkeypatch, "--data_path", path) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"train_{name}.py: {message}")


def test_nothing_to_start_from_ends_a_script_with_the_exit_code_of_ckpt(monkeypatch, capsys):
    assert run_script("full_sft", monkeypatch) == 3
    assert capsys.readouterr().err.startswith("train_full_sft.py: ")


@pytest.mark.parametrize("name", STAGES)
def test_stopped_and_gone_on_is_as_never_stopped(name, tmp_path):
    start = f"start/{STAGES[name][0]}_32.pth"
    save(start, seed=7)
    total = ["--epochs", "3", "--max_samples", "4", "--pretrained_path", start]
    first = train(name, *total, "--out_dir", tmp_path / "whole")
    assert first["steps"] == 6
    train(name, *total, "--out_dir", tmp_path / "parts", "--max_steps", "3")
    rest = train(name, *total, "--out_dir", tmp_path / "parts", "--from_resume", "auto")
    assert rest["resumed"] and rest["history"] == first["history"][3:]
    for file in sorted(Path("whole").glob("*.pth")):
        assert ckpt_core.diff(str(file), f"parts/{file.name}").identical, file


def test_twenty_steps_are_ten_and_ten(tmp_path):
    flags = ["--batch_size", "3", "--epochs", "2", "--max_samples", "30"]
    first = train("pretrain", *flags, "--out_dir", tmp_path / "whole")
    train("pretrain", *flags, "--out_dir", tmp_path / "parts", "--max_steps", "10")
    second = train("pretrain", *flags, "--out_dir", tmp_path / "parts", "--from_resume", "1")
    assert (first["steps"], second["steps"]) == (20, 10)
    for file in ("pretrain_32.pth", "pretrain_32_resume.pth"):
        assert ckpt_core.diff(f"whole/{file}", f"parts/{file}").identical
    again = train("pretrain", *flags, "--out_dir", tmp_path / "parts", "--from_resume", "auto")
    assert again["steps"] == 0, "a finished training takes no step and writes nothing"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """The file of a model that has learnt something."""
    out = tmp_path_factory.mktemp("learnt")
    size = ["--hidden_size", 32, "--num_hidden_layers", 1, "--out_dir", out]
    train("pretrain", "--epochs", 6, "--learning_rate", "3e-3", "--from_weight", "none", *size)
    return out / "pretrain_32.pth"


@pytest.fixture
def pretrained(learnt):
    """The same as the start of every stage."""
    Path("out").mkdir()
    for stage in ("pretrain", "full_sft", "rlhf"):
        Path(f"out/{stage}_32.pth").write_bytes(learnt.read_bytes())
    return ckpt_core.load("out/pretrain_32.pth").to_torch(separate=True)


def mean(figures, name):
    return sum(one[name] for one in figures) / len(figures)


@pytest.mark.parametrize("name", ["pretrain", "full_sft"])
def test_the_loss_falls(name, pretrained):
    history = train(name, "--epochs", "6", "--learning_rate", "3e-3")["history"]
    assert mean(history[-5:], "loss") < mean(history[:5], "loss") - 0.2


def test_dpo_widens_the_margin_and_leaves_its_reference_as_it_was(pretrained):
    told = train("dpo", "--epochs", "3", "--learning_rate", "1e-3")
    assert told["before"]["margin"] == 0
    assert told["after"]["margin"] > 1
    assert told["history"][0]["loss"] == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=1e-6)
    assert told["after"]["reference_norm"] == told["before"]["reference_norm"]
    assert unchanged(pretrained, ckpt_core.load("out/full_sft_32.pth").to_torch(separate=True))


def test_ppo_raises_the_reward_and_writes_a_critic(pretrained):
    flags = ["--learning_rate", "3e-3", "--critic_learning_rate", "1e-2"]
    history = train("ppo", "--epochs", "20", "--batch_size", "8", *flags)["history"]
    assert mean(history[-4:], "reward") > mean(history[:4], "reward") + 0.1
    off = [abs(mean(part, "value") - mean(part, "reward")) for part in (history[:4], history[-4:])]
    assert off[1] < mean(history[-4:], "reward") / 2, "the critic has learnt what to expect"
    critic = ckpt_core.load("out/ppo_critic_32.pth").to_torch(separate=True)
    assert "value_head.weight" in critic and "lm_head.weight" not in critic
    assert not torch.equal(critic["model.norm.weight"], pretrained["model.norm.weight"])
    resume = ckpt_core.load("out/ppo_actor_32_resume.pth")
    assert unchanged(critic, resume.to_torch("model:critic", separate=True))


def test_generalised_advantages_are_the_return_less_the_value_where_nothing_decays():
    from train_ppo import generalised_advantages, token_rewards

    mask = torch.tensor([[0.0, 1, 1, 1, 0], [1, 1, 0, 0, 0]])
    rewards = token_rewards(torch.tensor([2.0, 3.0]), mask, torch.ones_like(mask), 0.5)
    assert rewards.tolist() == [[0, -0.5, -0.5, 1.5, 0], [-0.5, 2.5, 0, 0, 0]]
    values = torch.arange(10.0).reshape(2, 5)
    found = generalised_advantages(rewards, values, mask, 1.0, 1.0)
    assert found.tolist() == [[0, 0.5 - 1, 1 - 2, 1.5 - 3, 0], [2 - 5, 2.5 - 6, 0, 0, 0]]


def test_grpo_judges_each_answer_by_its_group_and_raises_the_reward(pretrained):
    history = train("grpo", "--epochs", "4", "--learning_rate", "3e-3")["history"]
    assert all(abs(one["advantage_sum"]) < 1e-4 for one in history)
    assert mean(history[-4:], "reward") > mean(history[:4], "reward") + 0.1


def test_a_group_of_equals_has_no_advantage():
    from train_grpo import group_advantages

    assert group_advantages(torch.tensor([0.5, 0.5, 0.0, 1.0]), 2).tolist() == pytest.approx([0, 0, -1, 1], abs=1e-3)


def test_spo_raises_the_reward_and_its_tracker_follows(pretrained):
    told = train("spo", "--epochs", "20", "--batch_size", "8", "--learning_rate", "3e-3")
    history = told["history"]
    assert mean(history[-4:], "reward") > mean(history[:4], "reward") + 0.1
    early, late = abs(history[0]["value"] - history[0]["reward"]), abs(history[-1]["value"] - history[-1]["reward"])
    assert late < early


def test_the_tracker_forgets_faster_the_further_the_policy_has_moved():
    from train_spo import ValueTracker

    still, moved = ValueTracker(1), ValueTracker(1)
    one = torch.tensor([0])
    for _ in range(30):
        still.observe(one, torch.tensor([1.0]), 0.0)
        moved.observe(one, torch.tensor([1.0]), 0.0)
    still.observe(one, torch.tensor([0.0]), 0.0)
    moved.observe(one, torch.tensor([0.0]), 9.0)
    assert still.values(one) > 0.9 > moved.values(one) > 0.6


def test_distillation_brings_the_student_nearer_to_its_teacher(pretrained):
    save("student_32.pth", seed=11)
    told = train(
        "distillation",
        "--teacher_path",
        "out/full_sft_32.pth",
        "--pretrained_path",
        "student_32.pth",
        "--learning_rate",
        "3e-3",
    )
    assert told["after"]["kl"] < told["before"]["kl"] / 2
    assert unchanged(pretrained, ckpt_core.load("out/full_sft_32.pth").to_torch(separate=True))


def test_a_larger_teacher_teaches_a_smaller_student(pretrained):
    torch.manual_seed(0)
    torch.save(MiniLLM(Config(64, 2)).state_dict(), "full_sft_64.pth")
    how = ["--teacher_path", "full_sft_64.pth", "--teacher_hidden_size", "64", "--teacher_num_hidden_layers", "2"]
    told = train("distillation", *how, "--learning_rate", "3e-3")
    assert told["after"]["kl"] < told["before"]["kl"]


def test_reasoning_learns_its_marks_the_more_they_weigh(pretrained):
    flags = ["--learning_rate", "2e-3", "--max_seq_len", "64"]
    start = ["--pretrained_path", "out/rlhf_32.pth"]
    light = train("distill_reason", *flags, *start, "--mark_weight", "1", "--out_dir", "light")
    heavy = train("distill_reason", *flags)
    assert light["before"] == heavy["before"]
    assert heavy["after"]["mark_loss"] < heavy["before"]["mark_loss"] - 2
    assert heavy["after"]["mark_loss"] < light["after"]["mark_loss"]


def test_only_the_marks_of_the_form_weigh_more():
    from minillm.tokens import chat_tokens
    from train_distill_reason import weighted

    tokens, mask = (torch.tensor([one]) for one in chat_tokens("2?", "<think>a</think><answer>b</answer>"))
    assert weighted(tokens, mask, 10.0).tolist() == [[0] * 4 + [10, 1, 10, 10, 1, 10, 1]]


def test_lora_leaves_its_base_bit_for_bit_and_writes_itself_alone(pretrained):
    told = train("lora", "--learning_rate", "1e-2", "--epochs", "4")
    assert told["after"]["base_unchanged"] is True
    assert mean(told["history"][-5:], "loss") < mean(told["history"][:5], "loss")
    lora = ckpt_core.load("out/lora_identity_32.pth")
    assert [component.label for component in lora.manifest.components] == ["adapter"]
    assert unchanged(pretrained, model_in(resume_file("lora")))


def test_what_was_trained_is_merged_and_opened_by_transformers(pretrained):
    from transformers import AutoModelForCausalLM

    from ckpt_core.verbs.convert import convert

    train("lora", "--learning_rate", "1e-2", "--epochs", "4")
    how = {"lora": "out/lora_identity_32.pth", "release": "minimind-3"}
    convert("out/full_sft_32.pth", "hf", to="hf", options=how)
    tokens = torch.arange(40)[None]
    merged = AutoModelForCausalLM.from_pretrained("hf", local_files_only=True).eval()
    ours = MiniLLM(Config(32, 1)).eval()
    ckpt_core.load_into(ours, "out/full_sft_32.pth", options={"lora": how["lora"]})
    with torch.no_grad():
        torch.testing.assert_close(merged(tokens).logits, ours(tokens), rtol=1e-4, atol=1e-5)

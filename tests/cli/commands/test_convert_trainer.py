"""`ckpt convert` of a whole training checkpoint: what the format holds is taken, what it leaves is said."""

import json

import pytest
import torch
from safetensors.torch import load_file

from ckpt_core.cli.main import main


def _training():
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(4)).sum().backward()
    optimizer.step()
    return model.state_dict(), optimizer.state_dict()


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """A folder as the Trainer of transformers leaves it, in the current folder."""
    from transformers import LlamaConfig, LlamaForCausalLM, TrainerState

    monkeypatch.chdir(tmp_path)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(config)
    folder = tmp_path / "checkpoint-3"
    model.save_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters())
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save(torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict(), folder / "scheduler.pt")
    TrainerState(global_step=3, epoch=1.0).save_to_json(str(folder / "trainer_state.json"))
    return model


def test_a_trainers_folder_becomes_a_model_that_transformers_opens(trainer, capsys):
    from transformers import AutoModelForCausalLM

    assert main(["convert", "checkpoint-3", "out", "--to", "hf"]) == 0
    shown = capsys.readouterr().out
    assert "hf holds model, ema, config; left out: optimizer, scheduler, progress" in shown
    assert "as asked" not in shown
    assert "no place" not in shown
    opened = AutoModelForCausalLM.from_pretrained("out").state_dict()
    assert all(torch.equal(opened[name], tensor) for name, tensor in trainer.state_dict().items())


def test_json_says_what_was_left(trainer, capsys):
    assert main(["convert", "checkpoint-3", "out", "--to", "hf", "--dry-run", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["result"]
    assert result["components_left_out"] == ["optimizer", "scheduler", "progress"]
    assert result["notes"] == ["hf holds model, ema, config; left out: optimizer, scheduler, progress"]


def test_a_component_that_was_not_asked_for_has_its_place_and_is_left_out(trainer, capsys):
    assert main(["convert", "checkpoint-3", "out", "--to", "hf", "--component", "model"]) == 0
    shown = capsys.readouterr().out
    assert "left out, as asked: optimizer, scheduler, progress, config" in shown
    assert "no place" not in shown


def test_what_has_no_weights_is_not_made_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"optimizer": _training()[1], "step": 3}, "a.pt")
    assert main(["convert", "a.pt", "out", "--to", "hf"]) == 6
    assert "choose with" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("to", "destination"), [("safetensors", "out.safetensors"), ("safetensors", "out"), ("minillm", "full_sft_4.pth")]
)
def test_a_choice_among_several_is_a_question_and_no_lack(tmp_path, monkeypatch, capsys, to, destination):
    monkeypatch.chdir(tmp_path)
    model, optimizer = _training()
    torch.save({"model": model, "optimizer": optimizer, "step": 3}, "a.pt")
    assert main(["convert", "a.pt", destination, "--to", to]) == 2
    assert "choose" in capsys.readouterr().err


@pytest.mark.parametrize("destination", ["out", "out.d/", "runs/final.v2"])
def test_a_destination_that_tells_no_format_names_the_option_and_the_formats(
    tmp_path, monkeypatch, capsys, destination
):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": _training()[0]}, "a.pt")
    assert main(["convert", "a.pt", destination]) == 2
    shown = capsys.readouterr().err
    assert "name it with --to, one of bundle, dcp, hf, " in shown
    assert main(["convert", "a.pt", "out", "--to", "hf"]) == 0
    assert set(load_file("out/model.safetensors")) == {"weight", "bias"}

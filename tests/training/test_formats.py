"""One Checkpointer, several formats: each is resumed exactly, and is what its own software reads."""

import random
import warnings

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file

import ckpt_core
from ckpt_core.errors import UsageError
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.sealing import read_seal
from ckpt_core.training import Checkpointer
from tests.training.small_training import checkpointer, differing, same, training


def test_a_training_saved_as_dcp_is_resumed_exactly_and_read_by_torch(tmp_path):
    plain = training("torch").run(5)
    first = training("torch")
    with checkpointer(tmp_path / "run", first, save_every=1, keep=1, format="dcp") as saver:
        first.run(3, saver)
    place = tmp_path / "run" / "checkpoint-3"
    assert ckpt_core.load(str(place)).match.format == "dcp"
    held = {f"model.{name}": torch.zeros_like(tensor) for name, tensor in first.model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of being one process
        dcp.load(held, checkpoint_id=str(place), no_dist=True)
    assert all(held[f"model.{name}"].equal(tensor) for name, tensor in first.model.state_dict().items())
    second = training("torch", seed=99)
    with checkpointer(tmp_path / "run", second, save_every=1, keep=1) as saver:
        second.step = saver.resume("required").step
        second.run(5, saver)
    assert first.losses + second.losses == plain.losses
    assert differing(second.state(), plain.state()) == []


def modular(place, made):
    """Go on as ModularTrainer's own code does, from what torch opens safely."""
    state = torch.load(place / "training_state.pt", weights_only=True)
    made.model.load_state_dict(load_file(place / "model.safetensors"))
    made.optimizer.load_state_dict(state["optimizer_state_dict"])
    made.scheduler.load_state_dict(state["scheduler_state_dict"])
    random.setstate(state["rng_states"]["python_rng_state"])
    np.random.set_state(state["rng_states"]["numpy_rng_state"])
    torch.set_rng_state(state["rng_states"]["torch_rng_state"])
    return state


def test_a_training_saved_as_training_state_is_resumed_exactly_and_read_by_modular_trainer(tmp_path):
    plain = training("torch").run(5)
    first = training("torch")
    with checkpointer(tmp_path / "run", first, keep=1, format="training-state") as saver:
        first.run(3, saver)
        saver.save(3, metrics={"loss": -0.5, "epoch_loss": 0.75})
    place = tmp_path / "run" / "checkpoint-3"
    found = ckpt_core.verify(str(place), profile="exact-resume").report
    assert found.ok and found.assessment.verdict.value == "COMPLETE"
    theirs = training("torch", seed=99)
    state = modular(place, theirs)
    told = (state["global_step"], state["epoch"], state["epoch_losses"], state["best_loss"])
    assert told == (3, 0, [0.75], -0.5)
    ours, now = first.state(), theirs.state()
    assert [name for name in ("model", "optimizer", "scheduler", "generators") if not same(ours[name], now[name])] == []
    second = training("torch", seed=99)
    with checkpointer(tmp_path / "run", second) as saver:
        second.step = saver.resume("required").step
        second.run(5, saver)
    assert first.losses + second.losses == plain.losses
    assert differing(second.state(), plain.state()) == []


def word_tokenizer(transformers):
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0, "a": 1, "b": 2}, unk_token="?"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?")


class Silent:
    def save_pretrained(self, folder):
        pass


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"format": "bundle", "processing_class": Silent()}, "bundle is none; give format='hf'"),
        ({"format": "training-state", "processing_class": 3}, "a int has no save_pretrained"),
        ({"format": "training-state", "processing_class": Silent()}, "has written nothing"),
        ({"format": "bundle", "tokenizer": Silent()}, "is given as processing_class="),
    ],
)
def test_a_tokenizer_that_could_not_be_written_is_refused_before_step_1(given, text, tmp_path):
    with pytest.raises(UsageError, match=text):
        Checkpointer(tmp_path / "run", model=torch.nn.Linear(2, 2), **given)
    assert not (tmp_path / "run").exists()


def test_a_model_of_transformers_saved_as_hf_is_opened_by_it_and_resumed_exactly(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "vocab_size": 9,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, tie_word_embeddings=True))
    model.generation_config.max_new_tokens = 7
    optimizer = torch.optim.AdamW(model.parameters())
    batch = torch.tensor([[1, 2, 3]])
    model(batch, labels=batch).loss.backward(), optimizer.step()
    given = {"model": model, "optimizer": optimizer, "format": "hf", "processing_class": word_tokenizer(transformers)}
    with Checkpointer(tmp_path / "run", background=True, **given) as saver:
        saver.save(1)
    place = tmp_path / "run" / "checkpoint-1"
    assert transformers.AutoTokenizer.from_pretrained(place)("b a").input_ids == [2, 1]
    assert {"tokenizer.json", "tokenizer_config.json"} <= read_seal(list_files(str(place))).files.keys()
    opened = transformers.AutoModelForCausalLM.from_pretrained(place)
    assert same(opened.state_dict(), model.state_dict()) and opened.generation_config.max_new_tokens == 7
    again = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, tie_word_embeddings=True))
    other = torch.optim.AdamW(again.parameters())
    with Checkpointer(tmp_path / "run", model=again, optimizer=other, format="hf") as saver:
        assert saver.resume("required").unused == ()
    assert same(again.state_dict(), model.state_dict()) and same(other.state_dict(), optimizer.state_dict())


@pytest.mark.parametrize("name", ["safetensors", "nonsense"])
def test_a_format_that_holds_no_training_is_refused_before_step_1(name, tmp_path):
    wanted = f"format='?{name}'?: cannot hold a training; those that can are bundle, dcp, hf, training-state"
    with pytest.raises(UsageError, match=wanted):
        Checkpointer(tmp_path / "run", model=torch.nn.Linear(2, 2), format=name)
    assert not (tmp_path / "run").exists()


class WithPlainState(torch.nn.Linear):
    def get_extra_state(self):
        return {"maturity": 3}

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    "name, model, text",
    [
        ("hf", torch.nn.Linear(2, 2), "a Linear has no config"),
        ("training-state", WithPlainState(2, 2), "plain state"),
        ("training-state", torch.nn.Linear(2, 2, dtype=torch.complex128), "C128"),
    ],
)
def test_what_a_model_directory_has_no_place_for_is_refused_before_step_1(name, model, text, tmp_path):
    with pytest.raises(UsageError, match=text):
        Checkpointer(tmp_path / "run", model=model, format=name)
    assert not (tmp_path / "run").exists()

"""`CheckpointLoader`: the guide's three methods, what they return, and that a refused load changes nothing."""

import os

import pytest
import torch
from ckpt_minillm import CheckpointLoader

from ckpt_core import CheckpointNotFoundError, CkptError, LoadError, UsageError

HERE = {"local_dir": "out", "remote_dir": "remote"}


def snapshot(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    after = model.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def resolve(**how):
    return CheckpointLoader.resolve_checkpoint_path(**{"stage": "sft", "hidden_size": 16, **HERE, **how})


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("pretrain", "pretrain_16.pth"),
        ("sft", "full_sft_16.pth"),
        ("full_sft", "full_sft_16.pth"),
        ("reasoning", "reason_16.pth"),
        ("rlhf", "rlhf_16.pth"),
        ("dpo", "dpo_16.pth"),
        ("ppo_actor", "ppo_actor_16.pth"),
        ("ppo_critic", "ppo_critic_16.pth"),
        ("distillation", "full_dist_16.pth"),
        ("my_own", "my_own_16.pth"),
    ],
)
def test_a_path_is_made_of_the_stage_and_whether_it_is_there_is_told(stage, name, minimind):
    for source in ("local", "remote"):
        folder = {"local": "out", "remote": "remote"}[source]
        path, exists = CheckpointLoader.get_checkpoint_path(stage, 16, source=source, **HERE)
        assert (path, exists) == (os.path.join(folder, name), False)
        minimind.save(path)
        assert CheckpointLoader.get_checkpoint_path(stage, 16, source=source, **HERE) == (path, True)


def test_the_defaults_are_those_of_the_guide():
    assert CheckpointLoader.get_checkpoint_path("sft", 512) == ("./out/full_sft_512.pth", False)
    path, _ = CheckpointLoader.get_checkpoint_path("sft", 512, True, "remote")
    assert path == "/openbayes/home/out/full_sft_512_moe.pth"


def test_a_directory_is_not_a_checkpoint_that_exists(tmp_path):
    (tmp_path / "out" / "full_sft_16.pth").mkdir(parents=True)
    assert CheckpointLoader.get_checkpoint_path("sft", 16, **HERE)[1] is False


@pytest.mark.parametrize(("use_moe", "experts"), [("False", False), ("True", True), (0, False), (1, True)])
def test_use_moe_is_read_not_cast(use_moe, experts):
    path, _ = CheckpointLoader.get_checkpoint_path("sft", 16, use_moe)
    assert path.endswith("_moe.pth") is experts


@pytest.mark.parametrize("how", [{"source": "s3"}, {"stage": "../x"}, {"use_moe": "perhaps"}])
def test_what_cannot_be_asked_is_the_callers_error(how):
    with pytest.raises(UsageError):
        CheckpointLoader.get_checkpoint_path(**{"stage": "sft", "hidden_size": 16, **how})


def test_explicit_then_environment_then_remote_then_local(minimind, monkeypatch):
    places = ["given/x.pth", "env/x.pth", "remote/full_sft_16.pth", "out/full_sft_16.pth"]
    for place in places:
        minimind.save(place)
    monkeypatch.setenv("MINILLM_PRETRAINED_PATH", places[1])
    assert resolve(explicit_path=places[0]) == places[0]
    assert resolve() == places[1]
    monkeypatch.delenv("MINILLM_PRETRAINED_PATH")
    assert resolve() == places[2]
    assert resolve(prefer="local") == places[3]
    os.unlink(places[2])
    assert resolve() == places[3]
    monkeypatch.setenv("MY_OWN", places[1])
    assert resolve(env_var="MY_OWN") == places[1]


def test_nothing_named_and_nothing_found_is_none_and_a_warning(caplog):
    assert resolve() is None
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "No pretrained checkpoint found" in record.getMessage()
    for place in ("remote/full_sft_16.pth", "out/full_sft_16.pth"):
        assert place in record.getMessage()
    assert CheckpointLoader.resolve_checkpoint_path() is None


def test_named_and_missing_raises_and_never_falls_back(minimind, monkeypatch):
    minimind.save("out/full_sft_16.pth")
    for how in ({"explicit_path": "nope.pth"}, {"load_from_remote": True}):
        with pytest.raises(FileNotFoundError) as caught:
            resolve(**how)
        assert isinstance(caught.value, CheckpointNotFoundError)
    monkeypatch.setenv("MINILLM_PRETRAINED_PATH", "/nope/full_sft_16.pth")
    with pytest.raises(FileNotFoundError, match=r"/nope/full_sft_16\.pth.*MINILLM_PRETRAINED_PATH"):
        resolve()


def test_a_directory_where_the_file_should_be_raises(tmp_path, minimind):
    (tmp_path / "remote" / "full_sft_16.pth").mkdir(parents=True)
    minimind.save("out/full_sft_16.pth")
    with pytest.raises(CheckpointNotFoundError, match="a directory, where a file belongs"):
        resolve()


def test_stages_stand_in_only_when_asked_and_in_their_order(minimind, caplog):
    minimind.save("out/pretrain_16.pth")
    minimind.save("out/rlhf_16.pth")
    assert resolve() is None
    caplog.clear()
    assert resolve(fallback_stages=["reason", "rlhf", "pretrain"]) == "out/rlhf_16.pth"
    assert "is a rlhf file, in place of full_sft" in caplog.text


def test_the_search_is_told_to_a_logger_or_to_a_function(minimind):
    minimind.save("out/full_sft_16.pth")
    lines = []
    resolve(logger=lines.append)
    assert [line.split()[1 if line.startswith("->") else 0] for line in lines] == ["remote", "local"]
    assert "local folder" in lines[1]


def test_a_model_is_filled_and_true_is_returned(minimind):
    path = minimind.save("out/full_sft_16.pth")
    model = minimind.model()
    assert CheckpointLoader.load_checkpoint(model=model, checkpoint_path=path, device="cpu", strict=False) is True
    expected = minimind.model(seed=1)
    expected.load_state_dict(torch.load(path, weights_only=True))
    assert unchanged(model, snapshot(expected))


def test_nothing_to_load_is_false_and_a_warning(minimind, caplog):
    model = minimind.model()
    before = snapshot(model)
    assert CheckpointLoader.load_checkpoint(model, None) is False
    assert "nothing was loaded" in caplog.text
    assert unchanged(model, before)


def test_a_wrapped_resume_file_loads_its_model(minimind):
    path = minimind.save_resume("out/full_sft_16_resume.pth")
    renamed = minimind.save_resume("out/full_sft_16.pth")
    for place in (path, renamed):
        model = minimind.model()
        assert CheckpointLoader.load_checkpoint(model, place, "cpu") is True
        stored = torch.load(place, weights_only=True)["model"]
        assert all(torch.equal(tensor, stored[name].float()) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_names_of_wrappers_are_taken_off(prefix, minimind):
    tensors = {prefix + name: value for name, value in minimind.tensors().items()}
    path = minimind.save("out/full_sft_16.pth", tensors)
    assert CheckpointLoader.load_checkpoint(minimind.model(), path, "cpu", strict=True) is True


def test_a_device_that_is_absent_is_said_and_one_that_is_none_refused(minimind, caplog):
    path = minimind.save("out/full_sft_16.pth")
    model = minimind.model()
    assert CheckpointLoader.load_checkpoint(model, path, device="cuda:0") is True
    assert ("cuda:0 is not here" in caplog.text) is not torch.cuda.is_available()
    assert next(model.parameters()).device.type == "cpu"
    before = snapshot(model)
    with pytest.raises(UsageError, match="cuda:zero: not a device"):
        CheckpointLoader.load_checkpoint(model, path, device="cuda:zero")
    assert unchanged(model, before)


def test_without_strict_differences_of_names_are_reported(minimind, caplog):
    older = minimind.save("out/full_sft_16.pth", minimind.tensors(qk_norm=False))
    model = minimind.model()
    norm = model.state_dict()["model.layers.0.self_attn.q_norm.weight"].clone()
    assert CheckpointLoader.load_checkpoint(model, older, "cpu") is True
    assert "4 missing (model.layers.0.self_attn.q_norm.weight" in caplog.text
    assert torch.equal(model.state_dict()["model.layers.0.self_attn.q_norm.weight"], norm)
    newer = minimind.save("out/rlhf_16.pth")
    caplog.clear()
    assert CheckpointLoader.load_checkpoint(minimind.model(qk_norm=False), newer, "cpu") is True
    assert "4 unexpected (model.layers.0.self_attn.q_norm.weight" in caplog.text


REFUSED = {
    "twice the layers": ({"layers": 4}, "4 layers, not 2"),
    "half the layers": ({"layers": 1}, "1 layers, not 2"),
    "another hidden size": ({"hidden": 24}, "hidden size 24, not 16"),
    "experts": ({"moe": True}, "experts, not a dense model"),
    "another vocabulary": ({"vocab": 64}, "shapes differ"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("strict", [True, False])
def test_another_model_is_never_loaded_and_changes_nothing(case, strict, minimind):
    how, message = REFUSED[case]
    path = minimind.save("given/weights.pth", minimind.tensors(**how))
    model = minimind.model()
    before = snapshot(model)
    with pytest.raises(LoadError, match=message) as caught:
        CheckpointLoader.load_checkpoint(model, path, "cpu", strict=strict)
    assert "given/weights.pth" in str(caught.value)
    assert unchanged(model, before)


def test_strict_refuses_what_is_missing_and_what_is_unexpected(minimind):
    for stored, built in (({"qk_norm": False}, {}), ({}, {"qk_norm": False})):
        path = minimind.save("given/weights.pth", minimind.tensors(**stored))
        model = minimind.model(**built)
        before = snapshot(model)
        with pytest.raises(LoadError, match="q_norm"):
            CheckpointLoader.load_checkpoint(model, path, "cpu", strict=True)
        assert unchanged(model, before)


def test_half_of_somebody_elses_model_is_not_dropped_either(tmp_path):
    blocks = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(8)))
    torch.save(blocks.state_dict(), tmp_path / "blocks.pth")
    smaller = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(4)))
    before = snapshot(smaller)
    with pytest.raises(LoadError, match="fills 100% of the model with 50% of the file"):
        CheckpointLoader.load_checkpoint(smaller, tmp_path / "blocks.pth", "cpu")
    assert unchanged(smaller, before)
    torch.save(smaller.state_dict(), tmp_path / "smaller.pth")
    with pytest.raises(LoadError, match="fills 50% of the model with 100% of the file"):
        CheckpointLoader.load_checkpoint(blocks, tmp_path / "smaller.pth", "cpu")


def test_zero_matches_are_refused(minimind, tmp_path):
    torch.save({"other.weight": torch.ones(2)}, tmp_path / "other.pth")
    model = minimind.model()
    before = snapshot(model)
    with pytest.raises(LoadError, match="no tensor of it fits"):
        CheckpointLoader.load_checkpoint(model, tmp_path / "other.pth", "cpu", strict=False)
    assert unchanged(model, before)


def test_a_lora_alone_is_no_model(minimind):
    path = minimind.save("out/lora_x_16.pth", {n: v for n, v in minimind.tensors(lora=4).items() if ".lora." in n})
    model = minimind.model(lora=4)
    before = snapshot(model)
    with pytest.raises(LoadError, match="a LoRA alone"):
        CheckpointLoader.load_checkpoint(model, path, "cpu")
    assert unchanged(model, before)


HTML = b"<!doctype html><html><body>Sign in</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 52428800\n"
BROKEN = {
    "garbage of 200 KB": (os.urandom(200_000), "not a torch file|no installed format"),
    "an empty file": (b"", "empty; copy it again"),
    "a git-lfs pointer": (LFS, "git-lfs pointer.*git lfs pull"),
    "a web page": (HTML, "web page.*download it again"),
    "zero bytes": (bytes(200_000), "nothing but zero bytes"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_checkpoint_is_named_and_changes_nothing(case, minimind, tmp_path):
    content, message = BROKEN[case]
    (tmp_path / "full_sft_16.pth").write_bytes(content)
    model = minimind.model()
    before = snapshot(model)
    with pytest.raises(CkptError, match=message) as caught:
        CheckpointLoader.load_checkpoint(model, "full_sft_16.pth", "cpu")
    assert "full_sft_16.pth" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert unchanged(model, before)


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.9, 0.999])
def test_an_interrupted_copy_is_refused_and_changes_nothing(share, minimind):
    path = minimind.save("out/full_sft_16.pth")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    model = minimind.model()
    before = snapshot(model)
    with pytest.raises(CkptError, match=r"full_sft_16\.pth") as caught:
        CheckpointLoader.load_checkpoint(model, path, "cpu")
    assert "\n" not in str(caught.value)
    assert unchanged(model, before)


def test_a_directory_and_a_missing_file_are_refused(minimind, tmp_path):
    (tmp_path / "full_sft_16.pth").mkdir()
    model = minimind.model()
    before = snapshot(model)
    with pytest.raises(CkptError, match="holds no file"):
        CheckpointLoader.load_checkpoint(model, "full_sft_16.pth", "cpu")
    with pytest.raises(FileNotFoundError, match=r"nope\.pth"):
        CheckpointLoader.load_checkpoint(model, "nope.pth", "cpu")
    assert unchanged(model, before)


def test_a_stages_name_is_a_path_here_and_never_searched_for(minimind):
    minimind.save("out/pretrain_512.pth")
    with pytest.raises(FileNotFoundError):
        CheckpointLoader.load_checkpoint(minimind.model(), "pretrain", "cpu")

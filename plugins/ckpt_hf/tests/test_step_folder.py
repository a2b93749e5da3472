"""Checkpoints whose parts lie in sibling folders: one member each, and what is lost of one is said."""

import json

import pytest
import torch
from ckpt_hf.step_folder.names import kind_of_name
from safetensors.torch import save_file

import ckpt_core
from ckpt_core.cli.main import main


def flattened(state, prefix=""):
    """A nested state as lerobot's flatten_dict makes it: keys joined by slashes."""
    found = {}
    for key, value in state.items():
        name = f"{prefix}/{key}" if prefix else str(key)
        found.update(flattened(value, name) if isinstance(value, dict) else {name: torch.as_tensor(value)})
    return found


def trained():
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return model, optimizer, scheduler


def as_lerobot(folder, step):
    model, optimizer, _ = trained()
    weights, state = folder / "pretrained_model", folder / "training_state"
    weights.mkdir(parents=True)
    state.mkdir()
    save_file(model.state_dict(), weights / "model.safetensors")
    (weights / "config.json").write_text('{"type": "act"}')
    (weights / "train_config.json").write_text("{}")
    whole = optimizer.state_dict()
    groups = whole.pop("param_groups")
    save_file(flattened(whole), state / "optimizer_state.safetensors")
    (state / "optimizer_param_groups.json").write_text(json.dumps(groups))
    (state / "scheduler_state.json").write_text(json.dumps({"last_epoch": step, "_last_lr": [0.01]}))
    (state / "training_step.json").write_text(json.dumps({"step": step}))
    save_file({"torch_rng_state": torch.get_rng_state()}, state / "rng_state.safetensors")


def as_torch_files(folder, step):
    model, optimizer, scheduler = trained()
    weights, state = folder / "policy", folder / "state"
    weights.mkdir(parents=True)
    state.mkdir()
    torch.save(model.state_dict(), weights / "weights.pt")
    torch.save(optimizer.state_dict(), state / "optimizer.pt")
    torch.save(scheduler.state_dict(), state / "lr_scheduler.pt")
    torch.save({"step": step}, state / "progress.pt")


def as_folders_by_kind(folder, step):
    model, optimizer, scheduler = trained()
    for name, content in (("optimizer", optimizer.state_dict()), ("scheduler", scheduler.state_dict())):
        (folder / name).mkdir(parents=True)
        torch.save(content, folder / name / f"{name}.bin")
    (folder / "model").mkdir()
    save_file(model.state_dict(), folder / "model" / "model.safetensors")
    (folder / "model" / "config.json").write_text('{"model_type": "mine"}')
    (folder / "trainer").mkdir()
    (folder / "trainer" / "global_step.json").write_text(json.dumps({"step": step}))


def as_one_state_file(folder, step):
    model, optimizer, scheduler = trained()
    (folder / "unet").mkdir(parents=True)
    save_file(model.state_dict(), folder / "unet" / "diffusion_pytorch_model.safetensors")
    (folder / "unet" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    (folder / "train").mkdir()
    whole = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "step": step}
    torch.save(whole, folder / "train" / "training_state.pt")


WRITERS = (as_lerobot, as_torch_files, as_folders_by_kind, as_one_state_file)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["0000400", "step-400", "checkpoint_400"])
def test_a_numbered_folder_of_parts_is_one_checkpoint_with_its_step(tmp_path, write, name):
    write(tmp_path / "run" / name, 400)
    checkpoint = ckpt_core.load(str(tmp_path / "run"))
    assert checkpoint.match.format == "step-folder"
    assert checkpoint.match.step == checkpoint.manifest.step == 400
    kinds = {component.kind for component in checkpoint.manifest.components}
    assert kinds >= {"model", "optimizer", "scheduler", "progress"}
    assert torch.equal(checkpoint.to_torch("model")["weight"], trained()[0].weight)


@pytest.mark.parametrize("write", WRITERS)
def test_the_newest_is_complete_for_resume(tmp_path, write, capsys):
    for step in (9, 10):
        write(tmp_path / f"step_{step}", step)
    assert main(["locate", str(tmp_path), "--for", "resume", "-q"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "step_10")


def test_a_flattened_optimizer_is_the_state_that_torch_loads(tmp_path):
    as_lerobot(tmp_path / "0400", 400)
    component = ckpt_core.load(str(tmp_path / "0400")).component("optimizer")
    tensors = ckpt_core.load(str(tmp_path / "0400")).to_torch("optimizer")

    def filled(state):
        if isinstance(state, ckpt_core.TensorRef):
            return tensors[state.name]
        if isinstance(state, dict):
            return {key: filled(value) for key, value in state.items()}
        return [filled(item) for item in state] if isinstance(state, list) else state

    _, expected, _ = trained()
    found = torch.optim.AdamW(torch.nn.Linear(4, 3).parameters(), lr=1.0)
    found.load_state_dict(filled(component.state))
    assert found.state_dict()["param_groups"] == [
        {key: list(value) if key == "betas" else value for key, value in group.items()}
        for group in expected.state_dict()["param_groups"]
    ]
    for number, state in expected.state_dict()["state"].items():
        for key, value in state.items():
            assert torch.equal(found.state_dict()["state"][number][key], value)


LOST = {
    "training_state/optimizer_state.safetensors": "optimizer",
    "training_state/scheduler_state.json": "scheduler",
    "training_state/training_step.json": "progress",
    "pretrained_model/model.safetensors": "model",
}


@pytest.mark.parametrize("path", LOST)
def test_a_file_that_is_lost_ends_completeness_and_is_named(tmp_path, capsys, path):
    as_lerobot(tmp_path / "0400", 400)
    assert main(["verify", str(tmp_path / "0400"), "--for", "resume"]) == 0
    (tmp_path / "0400" / path).unlink()
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "0400"), "--for", "resume"]) == 4
    assert f"{LOST[path]} absent" in capsys.readouterr().out


def test_training_state_without_a_model_beside_it_is_an_error(tmp_path):
    as_lerobot(tmp_path / "0400", 400)
    for path in (tmp_path / "0400" / "pretrained_model").iterdir():
        path.unlink()
    report = ckpt_core.verify(str(tmp_path / "0400")).report
    assert ("PT001", ckpt_core.Severity.ERROR) in {(finding.code, finding.severity) for finding in report.findings}


@pytest.mark.parametrize("folders", [("step_1", "step_2"), ("checkpoint-1", "checkpoint-2"), ("epoch_1", "epoch_2")])
def test_checkpoints_in_numbered_siblings_stay_apart(tmp_path, folders):
    first, second = (tmp_path / name for name in folders)
    first.mkdir()
    second.mkdir()
    save_file({"w": torch.ones(2)}, first / "model.safetensors")
    torch.save({"state": {}, "param_groups": []}, second / "optimizer.pt")
    detection = ckpt_core.get_plugin_manager().hooks.detect_format(files=ckpt_core.list_files(str(tmp_path)))
    assert "step-folder" not in {match.format for match in detection.matches}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("optimizer_state.safetensors", "optimizer"),
        ("optimizer_param_groups.json", "optimizer"),
        ("lr_scheduler.pt", "scheduler"),
        ("grad_scaler.pt", "scaler"),
        ("rng_state_0.pth", "rng"),
        ("random_states_0.pkl", "rng"),
        ("dataloader_state.json", "sampler"),
        ("training_state.pt", "progress"),
        ("training_step.json", "progress"),
        ("scheduler_config.json", None),
        ("train_config.json", None),
        ("training_args.bin", None),
        ("model.safetensors", None),
        ("readme.md", None),
    ],
)
def test_a_name_tells_its_kind(name, kind):
    assert kind_of_name(name) == kind


def test_a_link_that_leads_to_an_older_one_is_said(tmp_path, capsys):
    for step in (100, 900):
        as_lerobot(tmp_path / "checkpoints" / f"{step:07d}", step)
    (tmp_path / "checkpoints" / "last").symlink_to("0000100")
    assert main(["locate", str(tmp_path), "--for", "resume"]) == 0
    captured = capsys.readouterr()
    assert "last leads to 0000100" in captured.out + captured.err
    (tmp_path / "checkpoints" / "last").unlink()
    (tmp_path / "checkpoints" / "last").symlink_to("0000900")
    assert main(["locate", str(tmp_path), "--for", "resume"]) == 0
    captured = capsys.readouterr()
    assert "leads to" not in captured.out + captured.err


def test_the_next_step_of_several_further_down_works(tmp_path, capsys):
    for step in (100, 900):
        as_lerobot(tmp_path / "checkpoints" / f"{step:07d}", step)
    assert main(["convert", str(tmp_path), str(tmp_path / "out.pt")]) == 2
    advised = capsys.readouterr().err.rpartition("name one as ")[2].split("\n")[0].strip()
    assert main(["convert", advised, str(tmp_path / "out.safetensors"), "--component", "model"]) == 0

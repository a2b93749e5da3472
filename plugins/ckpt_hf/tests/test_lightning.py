"""Files of Lightning's own Trainer: complete as it leaves them, told from lookalikes, resumed from by Lightning."""

import io
import json
import shutil
import zipfile

import pytest
import torch

import ckpt_core
from ckpt_core import Confidence, CorruptError, UnsafeContentError

MAKER = "lightning_runs.py"
FIRST, MIDDLE, LAST = "epoch=0-step=4.ckpt", "epoch=1-step=8.ckpt", "epoch=2-step=12.ckpt"


@pytest.fixture(scope="session")
def runs(made):
    return made(MAKER)


@pytest.fixture
def changed(runs, tmp_path):
    """A file of Lightning's with another content."""

    def make(change, name=MIDDLE):
        saved = torch.load(runs / "full" / MIDDLE, weights_only=False)
        change(saved)
        torch.save(saved, tmp_path / name)
        return tmp_path / name

    return make


def detect(place):
    files = ckpt_core.list_files(str(place))
    return ckpt_core.get_plugin_manager().hooks.detect_format(files=files)


def test_what_lightning_leaves_is_complete_to_train_on(runs, assessed):
    for profile in ("inference", "resume"):
        assert assessed(runs / "full" / MIDDLE, profile)[0] == "COMPLETE"
    checkpoint = ckpt_core.load(str(runs / "full" / MIDDLE))
    assert (checkpoint.match.format, checkpoint.match.confidence) == ("lightning", Confidence.CERTAIN)
    assert checkpoint.manifest.step == 8
    labels = {component.label for component in checkpoint.manifest.components}
    assert labels == {"model", "optimizer", "scheduler", "progress", "progress:callbacks", "config"}


def test_tensors_have_the_names_that_the_module_knows_and_their_bytes(runs):
    checkpoint = ckpt_core.load(str(runs / "full" / MIDDLE))
    saved = torch.load(runs / "full" / MIDDLE, weights_only=False)
    assert list(checkpoint.component("model").tensors) == list(saved["state_dict"])
    for name, tensor in saved["state_dict"].items():
        assert bytes(checkpoint.read("model", name)) == tensor.numpy().tobytes()
    moment = saved["optimizer_states"][0]["state"][0]["exp_avg"]
    assert bytes(checkpoint.read("optimizer", "state.0.exp_avg")) == moment.numpy().tobytes()


def test_an_exact_resume_is_not_promised_for_there_are_no_random_states(runs, assessed):
    verdict, lines = assessed(runs / "full" / MIDDLE)
    assert (verdict, lines["rng"], lines["sampler"]) == ("PARTIAL", "absent", "absent")


def test_weights_alone_are_complete_to_compute_with_and_nothing_else(runs, assessed):
    saved = runs / "weights" / FIRST
    assert assessed(saved, "inference")[0] == "COMPLETE"
    verdict, lines = assessed(saved, "resume")
    assert (verdict, lines["optimizer"], lines["scheduler"]) == ("PARTIAL", "absent", "absent")


def test_each_optimizer_is_a_component_and_a_training_without_schedules_lacks_none(runs, assessed):
    saved = runs / "two" / "epoch=0-step=8.ckpt"
    labels = {component.label for component in ckpt_core.load(str(saved)).manifest.components}
    assert {"optimizer", "optimizer:1"} <= labels
    verdict, lines = assessed(saved, "resume")
    assert verdict == "COMPLETE" and "scheduler" not in {k for k, v in lines.items() if v == "absent"}


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("state_dict", "model"),
        ("optimizer_states", "optimizer"),
        ("lr_schedulers", "scheduler"),
        ("loops", "progress"),
    ],
)
def test_a_part_that_is_gone_flips_its_own_line(changed, assessed, key, label):
    verdict, lines = assessed(changed(lambda saved: saved.pop(key)), "resume")
    assert verdict == "PARTIAL"
    assert [name for name, presence in lines.items() if presence == "absent"] == [label]


def test_a_scaler_is_a_component(changed):
    saved = changed(lambda saved: saved.update(MixedPrecision={"scale": 65536.0, "_growth_tracker": 3}))
    assert ckpt_core.load(str(saved)).component("scaler").state["scale"] == 65536.0


@pytest.mark.parametrize("length", [0, 3, 1000, -400, -1])
def test_a_file_that_is_cut_short_is_corrupt(runs, tmp_path, assessed, length):
    content = (runs / "full" / MIDDLE).read_bytes()
    (tmp_path / MIDDLE).write_bytes(content[:length])
    if length == 0:
        with pytest.raises(CorruptError):
            ckpt_core.verify(str(tmp_path / MIDDLE))
    else:
        assert assessed(tmp_path / MIDDLE, "resume")[0] == "CORRUPT"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "CK011"),
        (b"<!DOCTYPE html><html></html>", "CK012"),
        (bytes(100), "CK013"),
    ],
)
def test_what_lies_in_its_place_is_called_by_its_name(tmp_path, content, code):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(CorruptError) as caught:
        ckpt_core.verify(str(tmp_path / "last.ckpt"))
    assert caught.value.code == code


def test_weights_of_stable_diffusion_with_lightnings_keys_are_not_lightnings(tmp_path):
    name = "model.diffusion_model.input_blocks.0.0.weight"
    weights = {"state_dict": {name: torch.ones(2, 2)}, "global_step": 470000, "epoch": 1}
    for file, saved in {
        "sd-v1-4.ckpt": {**weights, "pytorch-lightning_version": "1.4.2"},
        "last.ckpt": weights,
    }.items():
        torch.save({"epoch": 1, "pytorch-lightning_version": "1.4.2", **saved}, tmp_path / file)
        assert detect(tmp_path / file).best.format == "torch"


def test_a_file_of_another_trainer_with_one_of_its_names_is_a_torch_file(tmp_path):
    torch.save({"model": {"w": torch.ones(2)}, "step": 3}, tmp_path / "last.ckpt")
    assert detect(tmp_path / "last.ckpt").best.format == "torch"


def test_a_head_that_does_not_tell_is_likely_and_settled_when_it_is_opened(runs, tmp_path):
    for name, saved in {
        LAST: torch.load(runs / "full" / MIDDLE, weights_only=False),
        "last.ckpt": {"model": {"w": torch.ones(2)}, "step": 3},
    }.items():
        (tmp_path / name).write_bytes(_moved(saved))
    found = detect(tmp_path / LAST).best
    assert (found.format, found.confidence) == ("lightning", Confidence.LIKELY)
    assert ckpt_core.load(str(tmp_path / LAST)).manifest.step == 8
    other = ckpt_core.load(str(tmp_path / "last.ckpt"))
    assert [finding.code for finding in other.manifest.findings] == ["HT010"]
    assert other.manifest.step == 3 and list(other.component("model").tensors) == ["w"]


def _moved(saved):
    """An object as a torch file whose first record is not its pickle."""
    content = io.BytesIO()
    torch.save(saved, content)
    moved = io.BytesIO()
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(moved, "w") as new:
        for name in sorted(old.namelist(), key=lambda name: not name.endswith("version")):
            new.writestr(name, old.read(name))
    return moved.getvalue()


def test_a_name_that_disagrees_with_the_step_is_said_and_the_step_counts(runs, tmp_path):
    shutil.copy(runs / "full" / MIDDLE, tmp_path / LAST)
    report = ckpt_core.verify(str(tmp_path / LAST)).report
    assert [finding.code for finding in report.findings if finding.severity > 0] == ["HT001"]
    assert ckpt_core.load(str(tmp_path / LAST)).manifest.step == 8


@pytest.mark.long
def test_the_newest_whole_one_is_found_and_lightning_resumes_from_it(runs, copy_of, maker):
    run = copy_of(runs / "full")
    (run / LAST).write_bytes((run / LAST).read_bytes()[:2000])
    (run / "last.ckpt").unlink()
    (run / "last.ckpt").symlink_to(LAST)
    found = ckpt_core.locate(str(run), profile="resume").require()
    assert found.url == str(run / MIDDLE)
    again = json.loads(maker(MAKER, "resume", found.url).rpartition("LOSSES ")[2])
    assert again == json.loads((runs / "losses.json").read_text())[8:]


def test_files_are_found_at_any_depth_of_a_run(runs, tmp_path):
    below = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    shutil.copytree(runs / "full", below)
    found = ckpt_core.locate(str(tmp_path), profile="resume").require()
    assert found.url in {str(below / LAST), str(below / "last.ckpt")}


def test_code_in_a_file_is_refused_and_not_run(changed, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    with pytest.raises(UnsafeContentError):
        ckpt_core.load(str(changed(lambda saved: saved.update(more=Hostile()))))
    assert not (tmp_path / "ran").exists()


AVERAGED = "epoch=0-step=4.ckpt"


def test_of_an_averaged_training_the_model_is_what_is_trained_and_the_average_is_the_ema(runs, assessed):
    place = runs / "averaged" / AVERAGED
    saved = torch.load(place, weights_only=False)
    assert not torch.equal(saved["state_dict"]["net.0.weight"], saved["current_model_state"]["net.0.weight"])
    for format in (None, "torch"):
        checkpoint = ckpt_core.load(str(place), format=format)
        for label, key in (("model", "current_model_state"), ("ema", "state_dict")):
            assert list(checkpoint.component(label).tensors) == list(saved[key])
            assert bytes(checkpoint.read(label, "net.0.weight")) == saved[key]["net.0.weight"].numpy().tobytes()
    assert assessed(place, "resume")[0] == "COMPLETE"


def test_an_average_without_what_it_is_counted_with_is_no_resume(runs, changed, assessed):
    """Lightning takes it for a training without averages, and the average for the model."""
    averaged = torch.load(runs / "averaged" / AVERAGED, weights_only=False)
    place = changed(lambda saved: (saved.update(averaged), saved.pop("averaging_state")), AVERAGED)
    verdict, lines = assessed(place, "resume")
    assert (verdict, lines["progress:averaging"]) == ("PARTIAL", "absent")
    assert assessed(place, "inference")[0] == "COMPLETE"

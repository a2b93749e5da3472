"""Checkpoints of ModularTrainer, as its own code writes them, and as its fixers write over them."""

import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import ckpt_core


def save(folder, llama, step=1000, **changes):
    """What save_checkpoint of the trainer leaves: the model's files, and one dict with everything else."""
    model = llama
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    model(torch.zeros(1, 4, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    model.save_pretrained(folder)
    state = {
        "global_step": step,
        "epoch": 1,
        "best_loss": np.float64(1.5),
        "epoch_losses": [2.0, 1.5],
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "rng_states": {
            "python_rng_state": random.getstate(),
            "numpy_rng_state": np.random.get_state(),
            "torch_rng_state": torch.get_rng_state(),
        },
    }
    state.update(changes)
    torch.save({key: value for key, value in state.items() if value != "gone"}, folder / "training_state.pt")
    return folder


@pytest.fixture
def saved(tmp_path, llama):
    def make(name="checkpoint-1000", **changes):
        return save(tmp_path / name, llama, **changes)

    return make


def test_a_complete_one_with_numpys_random_state_is_complete(saved, assessed):
    folder = saved()
    with pytest.raises(Exception, match="weights_only"):
        torch.load(folder / "training_state.pt")
    assert assessed(folder, "resume")[0] == "COMPLETE"
    opened = ckpt_core.load(str(folder))
    assert (opened.match.format, opened.manifest.step) == ("training-state", 1000)


@pytest.mark.parametrize("nothing", ["gone", None, {}])
@pytest.mark.parametrize("kind", ["optimizer", "scheduler", "rng"])
def test_nothing_in_the_place_of_a_part_flips_its_line(saved, assessed, kind, nothing):
    key = {"rng": "rng_states"}.get(kind, f"{kind}_state_dict")
    verdict, lines = assessed(saved(**{key: nothing}), "resume")
    assert verdict == "PARTIAL"
    assert [label for label, presence in lines.items() if presence == "absent"] == [kind]


def test_an_exact_resume_is_never_promised_for_the_order_of_the_data_is_lost(saved, assessed):
    verdict, lines = assessed(saved(), "exact-resume")
    assert (verdict, lines["sampler"]) == ("PARTIAL", "absent")


def test_weights_of_zero_bytes_are_corrupt(saved, assessed):
    folder = saved()
    (folder / "model.safetensors").write_bytes(b"")
    assert assessed(folder, "resume")[0] == "CORRUPT"


def test_a_state_that_cannot_be_read_is_not_a_state_that_is_missing(saved, assessed):
    folder = saved()
    (folder / "training_state.pt").write_bytes(b"\x00" * 100)
    verdict, lines = assessed(folder, "resume")
    assert verdict == "CORRUPT"
    assert {lines[kind] for kind in ("optimizer", "scheduler", "progress", "rng")} == {"unreadable"}


@pytest.mark.parametrize(("step", "epoch"), [(0, 0), (7000, 2)])
def test_what_the_old_fixers_invented_is_said(saved, step, epoch):
    """One writes step 0, one the step of the name and epoch = step // 3000; each its own random state."""
    folder = saved("checkpoint-7000", step=step, epoch=epoch, optimizer_state_dict={}, scheduler_state_dict=None)
    report = ckpt_core.verify(str(folder), profile=ckpt_core.Profile.RESUME).report
    lines = {line.role.label: line.role for line in report.assessment.lines}
    assert report.assessment.verdict.value == "PARTIAL"
    assert {lines[kind].presence.value for kind in ("optimizer", "scheduler")} == {"absent"}
    assert lines["rng"].presence.value == "synthesized" and "wrote the state anew" in lines["rng"].note
    assert (
        lines["progress"].presence.value == "synthesized" and f"step {step} and epoch {epoch}" in lines["progress"].note
    )
    assert ("HT001" in {finding.code for finding in report.findings}) == (step == 0)


def test_a_folder_of_transformers_trainer_is_not_this(saved):
    folder = saved()
    (folder / "trainer_state.json").write_text('{"global_step": 1000}')
    assert ckpt_core.load(str(folder)).match.format == "hf-trainer"


def command(folder, *more):
    done = subprocess.run(
        [sys.executable, "-m", "ckpt_hf.verify_checkpoint", str(folder), *more],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_guides_command_has_its_lines_and_honest_exit_codes(saved, tmp_path):
    folder = saved()
    (folder / "tokenizer.json").write_text("{}")
    code, out, _ = command(folder, "-v")
    labels = [line.split("  ")[0].removeprefix("\u2705 ") for line in out.splitlines()[:7]]
    assert code == 0
    assert labels == [
        "Model Config",
        "Model Weights",
        "Tokenizer",
        "Training State",
        "Optimizer State",
        "Scheduler State",
        "RNG States",
    ]
    assert out.splitlines()[-1] == "Checkpoint is COMPLETE and ready for stable resume"
    code, out, _ = command(saved("checkpoint-2000", step=2000, optimizer_state_dict="gone"))
    assert code == 4 and "\u274c Optimizer State" in out and "PARTIAL" in out
    (folder / "model.safetensors").write_bytes(b"")
    code, out, _ = command(folder)
    assert code == 4 and "\u274c Model Weights (unreadable)" in out and "CORRUPT" in out
    code, out, err = command(tmp_path / "nowhere")
    assert code == 3 and out == "" and "nowhere" in err
    shutil.rmtree(folder)
    folder.mkdir()
    assert command(folder)[0] != 0

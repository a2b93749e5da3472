"""`ckpt prove-resume`: a training that goes on exactly, and others of which it names what differs first."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_core.training.proving.comparing import Difference, first_difference

ROOT = Path(__file__).parents[2]
EXAMPLE = [str(ROOT / "examples" / "training" / "train.py"), "--steps", "9", "--save-every", "3"]

LOOP = """
import random, sys
import torch
from ckpt_core.training import Checkpointer, KeyedLoader

torch.manual_seed(0)
DATA = torch.randn(20, 3)


class Unseeded:
    def __init__(self):
        self.at, self.order = 0, ORDER()

    def __iter__(self):
        while self.at < 20:
            self.at += 4
            yield DATA[self.order[self.at - 4 : self.at]]
        self.at, self.order = 0, ORDER()

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


model, loader = MODEL, LOADER
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
with Checkpointer("mine", model=model, loader=loader, save_every=2, inexact="warn", SAVED) as saver:
    step = saver.resume().step if RESUMES else 0
    while step < 8:
        for batch in loader:
            loss = model(batch).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            saver.after_step(step, metrics={"loss": loss})
            if step == 8:
                break
"""
PLAIN = {
    "ORDER": "(lambda: random.SystemRandom().sample(range(20), 20))",
    "MODEL": "torch.nn.Linear(3, 1)",
    "LOADER": "KeyedLoader(DATA, 4, seed=1)",
    "SAVED": "optimizer=optimizer",
    "RESUMES": "True",
}


def proved(folder, *arguments):
    command = [sys.executable, "-m", "ckpt_core.cli.main", "prove-resume", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return done.returncode, json.loads(done.stdout), done.stderr


def script(folder, seed=0, **changes):
    text = LOOP
    for name, value in {**PLAIN, **changes}.items():
        text = text.replace(name, value)
    (folder / "train.py").write_text(text)
    return proved(folder, "--kills", "1", "--seed", str(seed), "--", sys.executable, "train.py")


def test_the_example_goes_on_exactly_and_no_folder_of_its_own_is_touched(tmp_path):
    code, answer, told = proved(tmp_path, "--kills", "1", "--", sys.executable, *EXAMPLE)
    result = answer["result"]
    assert (code, result["exact"], result["difference"], result["steps"]) == (0, True, None, 9)
    assert result["resumed"] == [step // 3 * 3 - 3 * (step % 3 == 0) for step in result["kills"]]
    assert list(tmp_path.iterdir()) == []
    assert told.splitlines()[0] == "uninterrupted"


def test_a_sampler_that_is_not_seeded_is_named_with_its_sample(tmp_path):
    code, answer, _ = script(tmp_path, LOADER="Unseeded()")
    first = answer["result"]["difference"]
    assert (code, first["component"], first["step"]) == (1, "sampler", 1)
    assert first["detail"] == "batch 1 of step 1 is another one"
    assert first["sample"].startswith("sample ")


@pytest.mark.long
def test_a_shuffle_of_the_training_s_own_generator_is_named_where_it_goes_wrong(tmp_path):
    # killed at step 7, in the second epoch: the order of the first follows from the seed that the script sets
    code, answer, _ = script(tmp_path, 5, LOADER="Unseeded()", ORDER="(lambda: torch.randperm(20).tolist())")
    first, resumed = answer["result"]["difference"], answer["result"]["resumed"]
    assert (code, first["component"], first["process"]) == (1, "sampler", 2)
    assert (first["step"], resumed) == (7, [6])


@pytest.mark.long
def test_momentum_that_was_not_saved_is_found(tmp_path):
    code, answer, _ = script(tmp_path, SAVED="arguments={}")
    first = answer["result"]["difference"]
    assert (code, first["process"]) == (1, 2)
    assert first["component"] in ("model", "metrics")


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"RESUMES": "False"}, "call resume() before the first step"),
        ({"save_every=2": "save_every=100"}, "save more often"),
        ({"MODEL": "nonsense"}, "nonsense"),
    ],
    ids=["never resumes", "saves nothing", "fails"],
)
def test_what_cannot_be_proved_is_not_called_exact(changes, told, tmp_path):
    code, answer, _ = script(tmp_path, **changes)
    assert code == 2
    assert told in json.dumps(answer)


TRAINER = """
import torch
from transformers import Trainer, TrainingArguments
from ckpt_core.training import run_trainer


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.3), torch.nn.Linear(4, 1))

    def forward(self, x, labels):
        return {"loss": (self.layers(x) - labels).square().mean()}


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, number):
        DRAWN
        return {"x": torch.full((3,), float(number)) + torch.randn(3), "labels": torch.tensor([1.0])}


torch.manual_seed(0)
settings = {"max_steps": 6, "save_steps": 2, "per_device_train_batch_size": 4, "report_to": [], "use_cpu": True}
run_trainer(Trainer(Net(), TrainingArguments("mine", **settings), train_dataset=Data()))
"""


@pytest.mark.long
@pytest.mark.parametrize("drawn", ["pass", "torch.seed()"])
def test_a_training_of_transformers_trainer_is_proved_too(drawn, tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "train.py").write_text(TRAINER.replace("DRAWN", drawn))
    code, answer, told = proved(tmp_path, "--kills", "1", "--", sys.executable, "train.py")
    result = answer["result"]
    assert list((tmp_path / "mine").iterdir()) == [], told  # the Trainer itself makes it when it is made
    if drawn == "pass":
        assert (code, result["exact"], result["steps"]) == (0, True, 6)
    else:
        assert (code, result["difference"]["component"]) == (1, "sampler")


def test_a_command_that_is_not_there_is_one_line(tmp_path):
    code, answer, _ = proved(tmp_path, "--", "./nowhere")
    assert code == 2
    assert "cannot be run" in json.dumps(answer)


def line(step, **more):
    given = {"rows": ["a", "b"], "all": "ab", "numbers": [4, 7]}
    parts = {"model": f"m{step}", "optimizer": "o", "rng": f"r{step}"}
    return {"step": step, "metrics": {"loss": f"{step}.0"}, "parts": parts, "inputs": [given], **more}


WHOLE = [line(1), line(2), line(3)]


@pytest.mark.parametrize(
    ("killed", "expected"),
    [
        ([*WHOLE], None),
        ([line(1), line(2), {"killed": 2}, {"resumed": 1, "parts": line(1)["parts"]}, line(2), line(3)], None),
        ([line(1), {"killed": 1}, {"resumed": 1, "parts": {**line(1)["parts"], "rng": "x"}}], ("rng", 1, 2)),
        ([line(1), line(2, parts={**line(2)["parts"], "optimizer": "x"})], ("optimizer", 2, 1)),
        ([line(1), line(2, metrics={"loss": "9.0"})], ("metrics", 2, 1)),
        ([line(1), line(2)], ("steps", 2, 1)),
        ([*WHOLE, line(4)], ("steps", 4, 1)),
        ([line(1, parts={**line(1)["parts"], "rng": "unused"}), line(2), line(3)], None),
    ],
)
def test_the_first_difference_is_named(killed, expected):
    found = first_difference(WHOLE, killed)
    assert (found and (found.component, found.step, found.process)) == expected


def test_the_sample_is_named_by_its_number():
    given = {"rows": ["a", "c"], "all": "ac", "numbers": [4, 9]}
    found = first_difference(WHOLE, [line(1, inputs=[given])])
    assert found == Difference(
        1, "sampler", 1, "batch 1 of step 1 is another one", "sample 2 of 2, number 9 in place of 7"
    )

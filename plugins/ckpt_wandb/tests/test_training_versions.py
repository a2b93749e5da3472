"""Versions that a rule removes: none that an alias means, and none that was not read and found whole."""

import pytest
import torch
from ckpt_wandb.artifacts import open_artifact
from ckpt_wandb.publishing.removing import remove_version
from ckpt_wandb.refs import parse

from ckpt_core import OverwriteError, UsageError
from ckpt_core.training import Checkpointer, Keep


def model():
    return torch.nn.Linear(2, 2)


def versions(project):
    return sorted(one.name for one in open_artifact(parse(project.url("m"))).versions())


def test_a_rule_removes_versions_but_none_that_an_alias_means(project, tmp_path, command):
    place = project.url("m")
    with Checkpointer(tmp_path / "run", model=model(), upload_to=place, keep=1, keep_far=2) as saver:
        for step, aliases in ((1, "best"), (2, ()), (3, ()), (4, ())):
            saver.save(step, aliases=aliases)
            saver._tier.wait()
    assert versions(project) == ["v0", "v2", "v3"], "steps 1, which is the best, 3 and 4"
    with pytest.raises(OverwriteError, match="is best by now; it stays"):
        remove_version(project.url("m:v0"))
    code, shown, _ = command("prune", place)
    assert code == 1 and "checkpoint-1: is best, and stays" in shown and versions(project) == ["v0", "v2", "v3"]
    assert command("prune", place, "--apply")[0] == 0
    assert versions(project) == ["v0", "v3"]


def test_versions_of_another_run_stay(project, tmp_path, command):
    place = project.url("m")
    for run, steps in (("other", [1]), ("own", [1, 2])):
        with Checkpointer(tmp_path / run, model=model(), upload_to=place) as saver:
            for step in steps:
                saver.save(step)
    assert versions(project) == ["v0", "v1", "v2"]
    assert command("prune", place, "--apply")[0] == 0
    assert versions(project) == ["v0", "v2"]
    code, shown, _ = command("prune", place, "--apply")
    assert code == 0 and "it is of another run" in shown and versions(project) == ["v0", "v2"]


def test_rules_that_versions_cannot_follow_are_refused_before_step_1(project, tmp_path):
    below = project.url("m").rpartition("/")[0]
    for place, keep, said in (
        (below, Keep(), "there each checkpoint is an artifact of its own"),
        (project.url("m:v3"), Keep(), "is one version"),
        (project.url("m"), Keep(thin_every=2), "keep_far=: a version never changes"),
        (project.url("m"), Keep(recoverable=True), "keep_far=: nothing can be put aside"),
    ):
        with pytest.raises(UsageError, match=said):
            Checkpointer(tmp_path / "run", model=model(), upload_to=place, keep_far=keep)

"""Roots, tags and lookalikes are told apart by names; a pointer alone decides nothing."""

import shutil

import pytest
from ckpt_fsdp.deepspeed.names import parse, step_of

import ckpt_core
from ckpt_core import CorruptError, UsageError
from ckpt_core.verbs.convert import convert

STAGE2 = ("deepspeed_save.py", 3)


@pytest.fixture
def root(made, tmp_path):
    """A copy of a root with two tags."""
    return shutil.copytree(made(*STAGE2) / "stage2-bf16" / "ds", tmp_path / "ds")


def detect(place):
    manager = ckpt_core.get_plugin_manager()
    return manager.hooks.detect_format(files=ckpt_core.list_files(str(place)))


def codes(place):
    return [finding.code for finding in ckpt_core.verify(str(place)).report.findings]


def lacking_for_a_resume(place):
    assessment = ckpt_core.verify(str(place), profile=ckpt_core.Profile.RESUME).report.assessment
    return [line.role.label for line in assessment.lacking]


def test_a_tag_directory_is_a_checkpoint(root):
    best = detect(root / "global_step2").best
    assert (best.format, best.step, best.evidence) == ("deepspeed", 2, "1 model_states, 3 optim_states")
    assert ckpt_core.load(str(root / "global_step2")).manifest.step == 2


def test_a_root_with_one_tag_is_the_checkpoint(root):
    shutil.rmtree(root / "global_step1")
    best = detect(root).best
    assert (best.root, best.step) == ("", 2)
    assert best.evidence == "global_step2: 1 model_states, 3 optim_states; latest names it"
    assert ckpt_core.load(str(root)).component("model").tensors["mix.weight"].shape == (7, 3)


def test_of_several_tags_none_is_guessed(root):
    detection = detect(root)
    assert detection.best is None
    assert [(match.root, match.step) for match in detection.members] == [("global_step1", 1), ("global_step2", 2)]
    with pytest.raises(UsageError, match="global_step1, global_step2"):
        ckpt_core.load(str(root))


def test_a_pointer_to_an_older_tag_is_said(root):
    (root / "latest").write_text("global_step1")
    evidence = {match.root: match.evidence for match in detect(root).members}
    assert evidence["global_step1"].endswith("latest names it")
    assert evidence["global_step2"].endswith("latest names global_step1")


def test_a_root_within_a_run_is_one_member(root):
    shutil.rmtree(root / "global_step1")
    (run := root.parent / "run").mkdir()
    shutil.copytree(root, run / "checkpoint-2")
    shutil.move(root, run / "checkpoint-4")
    assert [match.root for match in detect(run).members] == ["checkpoint-2", "checkpoint-4"]


def test_a_directory_of_lightning_has_its_step_in_its_own_name(root, tmp_path):
    folder = tmp_path / "epoch=1-step=8.ckpt"
    folder.mkdir()
    shutil.move(root / "global_step2", folder / "checkpoint")
    (folder / "latest").write_text("checkpoint")
    best = detect(folder).best
    assert (best.format, best.step) == ("deepspeed", 8)
    assert codes(folder) == []


def test_a_missing_pointer_is_a_warning(root):
    shutil.rmtree(root / "global_step1")
    (root / "latest").unlink()
    assert codes(root) == ["ZE001"]


@pytest.mark.parametrize(
    ("tag", "lacking"), [("global_step2", ["progress:latest"]), ("pytorch_model", []), ("pytorch_model_1", [])]
)
def test_a_resume_lacks_the_pointer_but_for_tags_that_accelerate_calls_by_name(root, tag, lacking):
    shutil.rmtree(root / "global_step1")
    (root / "latest").unlink()
    (root / "zero_to_fp32.py").touch()
    (root / "global_step2").rename(root / tag)
    assert lacking_for_a_resume(root) == lacking
    assert lacking_for_a_resume(root / tag) == []


def test_a_pointer_that_is_a_link_to_nothing_is_not_to_be_read(root):
    shutil.rmtree(root / "global_step1")
    (root / "latest").unlink()
    (root / "latest").symlink_to(root / "nothing")
    assessment = ckpt_core.verify(str(root), profile=ckpt_core.Profile.RESUME).report.assessment
    (line,) = [line for line in assessment.lines if line.role.label == "progress:latest"]
    assert (assessment.verdict.value, line.role.presence) == ("CORRUPT", ckpt_core.Presence.UNREADABLE)


def test_a_pointer_to_a_tag_that_is_not_there_names_those_that_are(root):
    shutil.rmtree(root / "global_step1")
    (root / "latest").write_text("global_step9")
    (finding,) = ckpt_core.verify(str(root)).report.findings
    assert finding.code == "ZE002"
    assert finding.message.startswith("latest: it names global_step9, and the tags here are global_step2; name one")
    assert codes(f"{root}#global_step2") == []
    with pytest.raises(CorruptError, match="global_step9"):
        convert(str(root), str(root.parent / "out.safetensors"), components=["model"])


def test_a_page_of_html_in_the_place_of_a_pointer_is_a_tag_that_is_not_there(root):
    shutil.rmtree(root / "global_step1")
    (root / "latest").write_text("<!doctype html>\n<p>Sign in</p>" + "\n<p>again</p>" * 500)
    found = ckpt_core.verify(str(root), profile=ckpt_core.Profile.RESUME)
    (finding,) = found.report.findings
    assert finding.code == "ZE002"
    assert finding.message.startswith("latest: it names <!doctype html>\\n<p>Sign in</p>")
    assert len(finding.message) < 400
    assert found.report.assessment.verdict.value == "CORRUPT"
    assert codes(f"{root}#global_step2") == []


def test_a_pointer_astray_among_several_tags_is_an_error(root):
    (root / "latest").write_text("global_step9")
    with pytest.raises(CorruptError, match="names global_step9, and the tags here are global_step1, global_step2"):
        ckpt_core.load(str(root))
    assert codes(root) == ["ZE002"]


def test_a_root_whose_tags_were_lost_is_said(root):
    for step in (1, 2):
        shutil.rmtree(root / f"global_step{step}")
    with pytest.raises(CorruptError, match="there is no tag directory here"):
        ckpt_core.load(str(root))


@pytest.mark.parametrize("name", ["latest", "latest.pt", "zero_to_fp32.py", "mp_rank_00", "model_states.pt"])
def test_lookalikes_are_not_claimed(tmp_path, name):
    (tmp_path / name).write_bytes(b"checkpoint\n")
    assert not [match for match in detect(tmp_path).matches if match.format == "deepspeed"]


def test_megatron_s_directories_are_not_claimed(tmp_path):
    (tmp_path / "iter_0000010" / "mp_rank_00").mkdir(parents=True)
    (tmp_path / "iter_0000010" / "mp_rank_00" / "model_optim_rng.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("10")
    assert not [match for match in detect(tmp_path).matches if match.format == "deepspeed"]


def test_names_of_rank_files_are_read():
    file = parse("bf16_zero_pp_rank_12_mp_rank_03_optim_states.pt")
    assert (file.kind, file.rank, file.slice, file.prefix) == ("optim", 12, 3, "bf16_")
    assert parse("mp_rank_00_model_states.pt").rank is None
    assert parse("expp_rank_0_mp_rank_00_optim_states.pt") is None


@pytest.mark.parametrize(
    ("name", "step"),
    [("global_step400", 400), ("checkpoint-12", 12), ("epoch=1-step=8.ckpt", 8), ("best", None), ("step", None)],
)
def test_steps_are_read_from_names(name, step):
    assert step_of(name) == step

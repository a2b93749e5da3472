"""`ckpt locate`: the place, the reasons, and what is said when there is none."""

import json

import torch


def test_locate_shows_the_place_with_what_it_is_and_why(ckpt, files):
    done = ckpt("locate", files / "run")
    assert done == (0, f"{files}/run  (directory; the path that was given)\n", "")


def test_quiet_prints_the_bare_path(ckpt, files):
    assert ckpt("locate", "-q", files / "run").out == f"{files}/run\n"
    assert ckpt("--quiet", "locate", files / "run").out == f"{files}/run\n"


def test_quiet_prints_a_path_of_any_length_in_full(ckpt, tmp_path):
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    assert ckpt("locate", "-q", deep).out == f"{deep}\n"


def test_a_member_is_part_of_the_place(ckpt, files):
    assert ckpt("locate", "-q", f"{files}/run#first.safetensors").out == f"{files}/run#first.safetensors\n"


def test_hints_narrow_the_search(ckpt, files, plugins):
    assert ckpt("locate", PYTHONPATH=plugins).code == 3
    done = ckpt("locate", "-q", "--hint", f"shelf={files}/run", PYTHONPATH=plugins)
    assert (done.code, done.out) == (0, f"{files}/run\n")


def test_a_hint_without_a_value_is_a_usage_error(ckpt):
    done = ckpt("locate", "--hint", "shelf")
    assert done.code == 2
    assert "'shelf' is not NAME=VALUE" in done.err


def test_explain_shows_every_place_and_why(ckpt, files, plugins):
    done = ckpt("locate", "nowhere", "--hint", f"shelf={files}/run", "--explain", cwd=files, PYTHONPATH=plugins)
    lines = done.out.splitlines()
    assert done.code == 0
    assert any("missing" in line and "nowhere" in line for line in lines)
    assert any(line.startswith("->") and "the shelf that was hinted at" in line for line in lines)


def test_explain_is_shown_where_nothing_was_found_too(ckpt, files):
    done = ckpt("locate", "./nowhere", "--explain", cwd=files)
    assert done.code == 3
    assert "missing" in done.out
    assert done.err.startswith("ckpt: error: ./nowhere: ")


def test_json_has_the_attempts_also_where_nothing_was_found(ckpt, files):
    done = ckpt("locate", "./nowhere", "--json", cwd=files)
    content = json.loads(done.out)
    assert (done.code, content["exit"], content["ok"]) == (3, 3, False)
    assert content["schema"] == "ckpt/locate@1"
    assert content["result"]["location"] is None
    assert content["result"]["attempts"][0]["outcome"] == "missing"
    assert content["error"]["type"] == "CheckpointNotFoundError"


def test_json_has_the_place(ckpt, files):
    content = json.loads(ckpt("--json", "locate", files / "weights.pth").out)
    assert content["ok"] is True
    assert content["ref"] == f"{files}/weights.pth"
    assert content["result"]["location"] == f"{files}/weights.pth"
    assert content["result"]["kind"] == "file"
    assert "error" not in content


def test_a_plugin_that_crashes_is_reported_and_costs_only_its_answer(ckpt, files, plugins):
    done = ckpt("locate", "-q", "crash", cwd=files, PYTHONPATH=plugins)
    assert done.code == 3
    assert "ckpt: warning: plugin toy: locate failed: ZeroDivisionError: the toy broke" in done.err


def test_a_url_is_shown_without_its_secrets(ckpt):
    done = ckpt("locate", "--json", "ftp://user:secret@host/a?token=secret")
    assert done.code == 7
    assert json.loads(done.out)["ref"] == "ftp://host/a"
    assert "secret" not in done.out + done.err


def test_for_gives_the_newest_whole_checkpoint_as_a_shell_wants_it(ckpt, tmp_path):
    optimizer = {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": [{"initial_lr": 0.1, "params": [0]}]}
    full = {"model": {"w": torch.ones(1)}, "optimizer": optimizer, "scheduler": {"t": 1}}
    torch.save({**full, "step": 1}, tmp_path / "step_1.pt")
    torch.save({"model": full["model"], "step": 2}, tmp_path / "step_2.pt")
    done = ckpt("locate", tmp_path, "--for", "resume", "-q")
    assert (done.code, done.out) == (0, f"{tmp_path}/step_1.pt\n")
    assert (
        "passed over" in done.err
        and "step_2.pt: PARTIAL for resume: optimizer absent, scheduler absent (step_1.pt of" in done.err
    )
    none = ckpt("locate", tmp_path, "--for", "exact-resume", "-q")
    assert (none.code, none.out) == (4, "")
    assert ckpt("locate", tmp_path / "nowhere", "--for", "resume", "-q").code == 3

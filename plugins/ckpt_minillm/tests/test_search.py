import sys

import pytest
from ckpt_minillm.search import candidates

import ckpt_core
from ckpt_core import CheckpointNotFoundError, Priority, Query, UsageError


@pytest.fixture
def places(tmp_path):
    """Four places that a full_sft file of hidden size 64 may be in, and the question that knows them all."""
    files = {
        "explicit": tmp_path / "given" / "mine.pth",
        "environment": tmp_path / "env" / "full_sft_64.pth",
        "remote": tmp_path / "remote" / "full_sft_64.pth",
        "local": tmp_path / "local" / "full_sft_64.pth",
    }
    for path in files.values():
        path.parent.mkdir()
        path.write_bytes(b"x")
    return files


def ask(places, *, leave_out=(), **hints):
    named = {"path": places["explicit"]} if "explicit" not in leave_out else {}
    env = {"MINILLM_PRETRAINED_PATH": str(places["environment"])} if "environment" not in leave_out else {}
    folders = {"remote_dir": str(places["remote"].parent), "local_dir": str(places["local"].parent)}
    return ckpt_core.locate(hints={"stage": "sft", "hidden_size": "64", **folders, **named, **hints}, env=env)


def trace(resolution):
    return [(attempt.candidate.priority.name.lower(), attempt.outcome.value) for attempt in resolution.attempts]


def test_the_path_given_wins_and_the_others_are_named(places):
    resolution = ask(places)
    assert resolution.require().url == str(places["explicit"])
    assert trace(resolution) == [
        ("explicit", "found"),
        ("environment", "not probed"),
        ("remote", "not probed"),
        ("local", "not probed"),
    ]
    assert [attempt.candidate.reason for attempt in resolution.attempts] == [
        "hint path",
        "MINILLM_PRETRAINED_PATH",
        "remote folder, hint remote_dir",
        "local folder, hint local_dir",
    ]


def test_then_the_environment(places):
    resolution = ask(places, leave_out=["explicit"])
    assert resolution.require().url == str(places["environment"])
    assert trace(resolution) == [("environment", "found"), ("remote", "not probed"), ("local", "not probed")]


def test_then_the_remote_folder(places):
    resolution = ask(places, leave_out=["explicit", "environment"])
    assert resolution.require().url == str(places["remote"])
    assert trace(resolution) == [("remote", "found"), ("local", "not probed")]


def test_then_the_local_folder(places):
    places["remote"].unlink()
    resolution = ask(places, leave_out=["explicit", "environment"])
    assert resolution.require().url == str(places["local"])
    assert trace(resolution) == [("remote", "missing"), ("local", "found")]


def test_then_nothing_and_the_error_names_every_place(places):
    places["remote"].unlink()
    places["local"].unlink()
    resolution = ask(places, leave_out=["explicit", "environment"])
    assert trace(resolution) == [("remote", "missing"), ("local", "missing")]
    with pytest.raises(CheckpointNotFoundError) as caught:
        resolution.require()
    assert str(places["remote"]) in str(caught.value)
    assert str(places["local"]) in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_path_given_and_missing_ends_the_search(places):
    places["explicit"].unlink()
    resolution = ask(places)
    assert trace(resolution)[:2] == [("explicit", "missing"), ("environment", "not probed")]
    with pytest.raises(CheckpointNotFoundError, match=r"mine\.pth.*hint path"):
        resolution.require()


def test_a_variable_set_and_missing_ends_the_search(places):
    places["environment"].unlink()
    resolution = ask(places, leave_out=["explicit"])
    assert trace(resolution) == [("environment", "missing"), ("remote", "not probed"), ("local", "not probed")]
    with pytest.raises(CheckpointNotFoundError, match="MINILLM_PRETRAINED_PATH"):
        resolution.require()


def test_a_variable_set_to_nothing_is_not_set(places):
    hints = {"stage": "sft", "hidden_size": 64, "local_dir": places["local"].parent, "remote_dir": "/nowhere"}
    empty = {"MINILLM_PRETRAINED_PATH": "", "OUT_DIR": "", "MODEL_HIDDEN_SIZE": "", "USE_MOE": ""}
    assert ckpt_core.locate(hints=hints, env=empty).require().url == str(places["local"])


def test_a_variable_that_names_another_stage_is_taken_and_said(places):
    resolution = ask(places, leave_out=["explicit"], stage="rlhf")
    assert "is a full_sft file, asked was rlhf" in resolution.explain()
    assert resolution.require().url == str(places["environment"])


def test_a_variable_that_names_another_hidden_size_is_said_where_one_was_asked(places):
    assert "is of hidden size 64, asked was 128" in ask(places, leave_out=["explicit"], hidden_size=128).explain()
    env = {"MINILLM_PRETRAINED_PATH": str(places["environment"])}
    assert "hidden size" not in ckpt_core.locate("sft", env=env).explain()


def test_explain_shows_each_place_with_its_reason(places):
    places["remote"].unlink()
    assert ask(places, leave_out=["explicit", "environment"]).explain().splitlines() == [
        f"   remote       missing      {places['remote']}  [remote folder, hint remote_dir]",
        f"-> local        found        {places['local']}  [local folder, hint local_dir]",
    ]


def test_local_preferred_turns_the_two_folders_round(places):
    resolution = ask(places, leave_out=["explicit", "environment"], prefer="local")
    assert resolution.require().url == str(places["local"])
    assert trace(resolution) == [("local", "found"), ("fallback", "not probed")]


def test_local_preferred_still_finds_the_remote_one(places):
    places["local"].unlink()
    resolution = ask(places, leave_out=["explicit", "environment"], prefer="local")
    assert resolution.require().url == str(places["remote"])


def test_remote_only_never_takes_another_place(places):
    places["remote"].unlink()
    resolution = ask(places, leave_out=["explicit"], remote_only="yes")
    assert trace(resolution) == [("remote", "missing")]
    with pytest.raises(CheckpointNotFoundError, match=r"remote.full_sft_64\.pth"):
        resolution.require()


def proposed(ref=None, env=None, **hints):
    return [(found.priority, found.url) for found in candidates(Query(ref, hints, env or {}))]


def test_without_hints_the_defaults_of_minillms_scripts_hold():
    assert proposed("pretrain") == [
        (Priority.REMOTE, "/openbayes/home/out/pretrain_512.pth"),
        (Priority.LOCAL, "out/pretrain_512.pth"),
    ]


def test_the_variables_of_minillms_scripts_hold():
    env = {"MODEL_HIDDEN_SIZE": "768", "USE_MOE": "1", "OUT_DIR": "/data/out", "MINILLM_REMOTE_DIR": "s3://b/home"}
    assert proposed("dpo", env) == [
        (Priority.REMOTE, "s3://b/home/dpo_768_moe.pth"),
        (Priority.LOCAL, "/data/out/dpo_768_moe.pth"),
    ]


def test_a_hint_wins_over_its_variable():
    env = {"MODEL_HIDDEN_SIZE": "768", "USE_MOE": "true", "OUT_DIR": "/data/out", "MINILLM_REMOTE_DIR": "s3://b/home"}
    hints = {"hidden_size": 64, "use_moe": False, "local_dir": "here", "remote_dir": "memory://there/"}
    assert proposed("dpo", env, **hints) == [
        (Priority.REMOTE, "memory://there/dpo_64.pth"),
        (Priority.LOCAL, "here/dpo_64.pth"),
    ]


def test_the_stage_hint_wins_over_the_word():
    assert proposed("word", stage="reasoning")[1] == (Priority.LOCAL, "out/reason_512.pth")


def test_a_signed_url_keeps_its_query_at_the_end():
    assert proposed("dpo", remote_dir="https://host/out/?sig=a/b")[0][1] == "https://host/out/dpo_512.pth?sig=a/b"


@pytest.mark.parametrize(
    "ref", ["./sft", "runs/sft", "/out/full_sft_512.pth", "full_sft_512.pth", "s3://b/sft", ".", "..", "~", "~/sft"]
)
def test_a_path_is_left_to_core_whatever_the_hints_say(ref):
    env = {"MINILLM_PRETRAINED_PATH": "/elsewhere/full_sft_512.pth"}
    assert proposed(ref, env) == []
    assert proposed(ref, env, stage="sft") == []


def test_two_paths_are_the_askers_error():
    with pytest.raises(UsageError, match=r"path=b\.pth"):
        ckpt_core.locate("./a.pth", hints={"path": "b.pth"})


def test_without_a_question_the_variable_alone_is_proposed():
    assert proposed(env={"MINILLM_PRETRAINED_PATH": "/x.pth"}) == [(Priority.ENVIRONMENT, "/x.pth")]
    assert proposed() == []


def test_a_path_hint_alone_proposes_nothing_else():
    assert proposed(env={"MINILLM_PRETRAINED_PATH": "/x.pth"}, path="/y.pth") == [(Priority.EXPLICIT, "/y.pth")]


@pytest.mark.parametrize("value", ["true", "True", "1", "yes", "YES", True, 1])
def test_yes_means_a_model_of_experts(value):
    assert proposed("sft", use_moe=value)[1][1] == "out/full_sft_512_moe.pth"


@pytest.mark.parametrize("value", ["false", "False", "0", "no", False, 0])
def test_no_means_a_dense_model(value):
    assert proposed("sft", use_moe=value)[1][1] == "out/full_sft_512.pth"
    assert proposed("sft", {"USE_MOE": str(value)})[1][1] == "out/full_sft_512.pth"


@pytest.mark.parametrize(
    ("hints", "named"),
    [
        ({"hidden_size": -1}, "hidden_size=-1"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"hidden_size": "big"}, "hidden_size=big"),
        ({"hidden_size": ""}, "hidden_size="),
        ({"hidden_size": 51.2}, "hidden_size=51.2"),
        ({"hidden_size": True}, "hidden_size=True"),
        ({"hidden_size": "9" * 5000}, "hidden_size=999"),
        ({"use_moe": "maybe"}, "use_moe=maybe"),
        ({"use_moe": ""}, "use_moe="),
        ({"use_moe": 2}, "use_moe=2"),
        ({"use_moe": "none"}, "use_moe=none"),
        ({"prefer": "oldest"}, "prefer=oldest"),
        ({"prefer": "local", "remote_only": True}, "contradict"),
        ({"remote_only": "perhaps"}, "remote_only=perhaps"),
        ({"stage": "../../etc/x"}, "stage"),
        ({"stage": ""}, "stage="),
        ({"stage": ["sft"]}, "stage="),
        ({"path": ""}, "path="),
        ({"local_dir": ""}, "local_dir="),
    ],
)
def test_a_wrong_hint_is_the_askers_error(hints, named):
    with pytest.raises(UsageError) as caught:
        ckpt_core.locate("sft", hints=hints, env={})
    assert named in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("env", [{"MODEL_HIDDEN_SIZE": "large"}, {"USE_MOE": "on?"}])
def test_a_wrong_variable_is_an_error_where_a_stage_is_asked_and_else_not_looked_at(env):
    variable = next(iter(env))
    with pytest.raises(UsageError, match=variable):
        ckpt_core.locate("sft", env=env)
    assert proposed("runs/x.pth", env) == []


def test_local_out_is_below_the_working_directory(tmp_path, monkeypatch, minimind):
    minimind.save(tmp_path / "work" / "out" / "pretrain_16.pth")
    hints = {"hidden_size": 16, "remote_dir": tmp_path / "nowhere"}
    assert not ckpt_core.locate("pretrain", hints=hints).found
    monkeypatch.chdir(tmp_path / "work")
    assert ckpt_core.locate("pretrain", hints=hints).require().url == "out/pretrain_16.pth"
    assert len(ckpt_core.load("pretrain", hints=hints).to_torch("model")) > 0


def test_a_remote_folder_below_a_file_is_missing_not_unreachable(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "full_sft_512.pth").write_bytes(b"x")
    resolution = ckpt_core.locate("sft", hints={"remote_dir": tmp_path / "file" / "out"})
    assert [outcome for _, outcome in trace(resolution)] == ["missing", "missing", "found"]


def test_a_hint_that_is_nearly_one_of_ours_is_not_passed_over():
    for name, meant in (("hiden_size", "hidden_size"), ("use-moe", "use_moe"), ("fallback_stage", "fallback_stages")):
        with pytest.raises(UsageError, match=f"hint {name}: not known; is {meant} meant"):
            ckpt_core.locate("sft", hints={name: "x"}, env={})
    assert not ckpt_core.locate("sft", hints={"revision": "main"}, env={}).found


def test_stages_stand_in_after_both_places_of_the_own_and_only_when_asked():
    asked = {"fallback_stages": "rlhf, pretrain,full_sft", "remote_dir": "r", "local_dir": "l"}
    assert [url for _, url in proposed("sft", **{**asked, "fallback_stages": None})] == [
        "r/full_sft_512.pth",
        "l/full_sft_512.pth",
    ]
    found = sorted(candidates(Query("sft", asked, {})), key=lambda c: (c.priority, c.order))
    assert [c.url for c in found] == [
        f"{folder}/{stage}_512.pth" for stage in ("full_sft", "rlhf", "pretrain") for folder in "rl"
    ]
    assert found[2].reason == "fallback stage rlhf; remote folder, hint remote_dir"
    assert found[2].warning == "is a rlhf file, in place of full_sft"
    local = sorted(candidates(Query("sft", {**asked, "prefer": "local"}, {})), key=lambda c: (c.priority, c.order))
    assert [c.url for c in local] == [
        f"{folder}/{stage}_512.pth" for stage in ("full_sft", "rlhf", "pretrain") for folder in "lr"
    ]
    remote = list(candidates(Query("sft", {**asked, "remote_only": True}, {})))
    assert [(c.url, c.required) for c in remote] == [
        (f"r/{s}_512.pth", False) for s in ("full_sft", "rlhf", "pretrain")
    ]


def test_what_a_training_goes_on_from_is_asked_for_by_a_hint():
    assert proposed("sft", resume="yes", use_moe=1)[1] == (Priority.LOCAL, "out/full_sft_512_moe_resume.pth")


def test_every_hint_that_is_shown_is_understood():
    from ckpt_minillm.hints import HINTS

    values = {"hidden_size": "x", "num_hidden_layers": None, "prefer": "x", "fallback_stages": 5}
    for hint in HINTS:
        wrong = values.get(hint.name, [] if hint.type is str else "x")
        if wrong is not None:
            with pytest.raises(UsageError, match=hint.name):
                ckpt_core.locate("sft", hints={hint.name: wrong}, env={})


@pytest.mark.parametrize("count", [0, 100])
def test_locating_looks_once_at_each_place_however_many_files_are_there(count, tmp_path):
    for folder in ("remote", "out"):
        (tmp_path / folder).mkdir()
        for number in range(1, count + 1):
            (tmp_path / folder / f"stage_{number}.pth").write_bytes(b"x")
    looked = []

    def note(_frame, event, function):
        if event == "c_call" and function.__name__ in ("stat", "lstat", "listdir", "scandir", "open"):
            looked.append(function.__name__)

    hints = {"stage": "sft", "hidden_size": 16, "remote_dir": "remote", "local_dir": "out"}
    ckpt_core.locate(hints=hints, env={})  # what is imported on first use is not counted
    sys.setprofile(note)
    try:
        resolution = ckpt_core.locate(hints=hints, env={})
    finally:
        sys.setprofile(None)
    assert [outcome for _, outcome in trace(resolution)] == ["missing", "missing"]
    assert looked == ["stat", "stat"]


def _proposed(word, **hints):
    from ckpt_core import locate

    return [attempt.candidate.url for attempt in locate(word, hints=hints, env={}).attempts]


@pytest.mark.parametrize("word", ["nope", "model", "last", "my_file"])
def test_a_word_that_is_no_stage_is_not_looked_for_where_stages_are(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    assert _proposed(word) == [word]
    assert len(_proposed(word, hidden_size=64)) == 3
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f"{word}_512.pth").write_bytes(b"")
    assert f"out/{word}_512.pth" in _proposed(word)


@pytest.mark.parametrize("word", ["full_sft", "sft", "lora_medical", "grpo"])
def test_a_known_stage_is_looked_for(tmp_path, monkeypatch, word):
    monkeypatch.chdir(tmp_path)
    assert len(_proposed(word)) == 3


@pytest.mark.parametrize(
    ("word", "meant"), [("full_stf", "full_sft"), ("pretain", "pretrain"), ("ppo-actr", "ppo_actor")]
)
def test_a_stage_that_is_nearly_typed_is_answered_with_it(tmp_path, monkeypatch, word, meant):
    from ckpt_core import CheckpointNotFoundError, load

    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointNotFoundError) as caught:
        load(word)
    assert caught.value.hint == f"did you mean {meant}?"

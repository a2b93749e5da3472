import pytest
from ckpt_minillm.naming import ALIASES, STAGES, WeightsName, name_of, parse_name, stage_of
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import UsageError

SEEN = {
    "pretrain_512.pth": WeightsName("pretrain", 512),
    "pretrain_768_moe.pth": WeightsName("pretrain", 768, moe=True),
    "full_sft_512.pth": WeightsName("full_sft", 512),
    "full_sft_640_moe.pth": WeightsName("full_sft", 640, moe=True),
    "reason_512.pth": WeightsName("reason", 512),
    "rlhf_512.pth": WeightsName("rlhf", 512),
    "dpo_768.pth": WeightsName("dpo", 768),
    "ppo_actor_512.pth": WeightsName("ppo_actor", 512),
    "ppo_critic_512_moe.pth": WeightsName("ppo_critic", 512, moe=True),
    "grpo_768.pth": WeightsName("grpo", 768),
    "spo_768.pth": WeightsName("spo", 768),
    "agent_768.pth": WeightsName("agent", 768),
    "full_dist_512.pth": WeightsName("full_dist", 512),
    "lora_medical_768.pth": WeightsName("lora_medical", 768),
    "lora_identity_512.pth": WeightsName("lora_identity", 512),
    "lora_exam_768_moe.pth": WeightsName("lora_exam", 768, moe=True),
    "merge_identity_768.pth": WeightsName("merge_identity", 768),
    "full_sft_zero_768.pth": WeightsName("full_sft_zero", 768),
    "rl_512.pth": WeightsName("rl", 512),
    "pretrain_vlm_768.pth": WeightsName("pretrain_vlm", 768),
    "sft_vlm_512.pth": WeightsName("sft_vlm", 512),
    "pretrain_512_resume.pth": WeightsName("pretrain", 512, resume=True),
    "full_sft_768_moe_resume.pth": WeightsName("full_sft", 768, moe=True, resume=True),
    "full_sft_512_zero.pth": WeightsName("full_sft", 512, variant="zero"),
    "full_sft_512_moe_zero.pth": WeightsName("full_sft", 512, moe=True, variant="zero"),
    "full_sft_512.pth.tmp": WeightsName("full_sft", 512, in_flight=True),
    "grpo_768_moe_resume.pth.tmp": WeightsName("grpo", 768, moe=True, resume=True, in_flight=True),
}

WORD = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,6}", fullmatch=True)
WORDS = st.lists(WORD, min_size=1, max_size=3).map("_".join)
NAMES = st.builds(
    WeightsName,
    stage=WORDS | st.sampled_from(STAGES),
    hidden_size=st.integers(1, 999_999_999),
    moe=st.booleans(),
    variant=st.just("") | WORDS.filter(lambda v: not v.startswith("moe") and not v.endswith("resume")),
    resume=st.booleans(),
    in_flight=st.booleans(),
)


@pytest.mark.parametrize("name", SEEN)
def test_names_that_trainers_write_are_read_and_made_again(name):
    assert parse_name(name) == SEEN[name]
    assert str(SEEN[name]) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".pth",
        "pretrain.pth",
        "pretrain_512",
        "pretrain_512.pt",
        "pretrain_512.pth.bak",
        "pretrain_512.tmp",
        "pretrain_0512.pth",
        "pretrain_0.pth",
        "pretrain_-512.pth",
        "pretrain_512_.pth",
        "_512.pth",
        "512.pth",
        "pretrain_512_768.pth",
        "pretrain_512_moe_moe.pth",
        "pretrain_512_resume_resume.pth",
        "pretrain_\uff19\uff19.pth",
        "pretrain_1" + "0" * 9 + ".pth",
        "pretrain_1" + "0" * 5000 + ".pth",
        "pre train_512.pth",
        "../pretrain_512.pth",
        "pretrain_512.pth\n",
    ],
)
def test_other_names_are_not_read(name):
    assert parse_name(name) is None


@given(NAMES)
def test_what_is_made_is_read_back(name):
    assert parse_name(str(name)) == name


@given(st.one_of(st.text(), NAMES.map(str), st.from_regex(r"[a-z_0-9]{1,12}(_moe)?(_[a-z]+)?(_resume)?\.pth(\.tmp)?")))
def test_what_is_read_is_made_again(text):
    found = parse_name(text)
    if found is not None:
        assert str(found) == text


@pytest.mark.parametrize(
    "wrong",
    [
        {"stage": "a/b"},
        {"stage": ""},
        {"stage": "pretrain_512"},
        {"hidden_size": 0},
        {"hidden_size": -1},
        {"variant": "moe"},
        {"variant": "x_resume"},
        {"variant": "2"},
    ],
)
def test_a_name_that_would_not_be_read_back_is_not_made(wrong):
    with pytest.raises(UsageError):
        WeightsName(**{"stage": "pretrain", "hidden_size": 512, **wrong})


def test_aliases_become_what_files_are_called_and_the_rest_stays():
    assert {alias: stage_of(alias) for alias in ALIASES} == {
        "sft": "full_sft",
        "reasoning": "reason",
        "distillation": "full_dist",
    }
    assert stage_of("dpo") == "dpo"
    assert stage_of("my_own") == "my_own"


def test_plain_weights_are_neither_resume_files_nor_in_flight():
    plain = {name for name, parsed in SEEN.items() if parsed.plain}
    assert plain == {name for name in SEEN if "resume" not in name and not name.endswith(".tmp")}


def test_a_stage_is_known_by_its_trainer_or_as_a_lora():
    assert {parsed.stage for parsed in SEEN.values() if not parsed.known} == {
        "merge_identity",
        "full_sft_zero",
        "rl",
        "pretrain_vlm",
        "sft_vlm",
    }


@pytest.mark.parametrize(
    "place", ["a/b_1.pth", "b_1.pth", "/x/b_1.pth", "memory://a/b_1.pth", "https://h/b_1.pth?sig=/z_2.pth"]
)
def test_the_name_of_a_place_is_its_last_part_without_a_query(place):
    assert name_of(place) == "b_1.pth"

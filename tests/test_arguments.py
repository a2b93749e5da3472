import copy
import pickle
import re
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core import CorruptError, Finding, Irreparable, Severity, UsageError, argument, in_shell, marked, option

SPELLED = [
    (argument("components"), "components=", "--component"),
    (
        argument("components", ["model", "it's"]),
        "components=['model', \"it's\"]",
        "--component model --component 'it'\"'\"'s'",
    ),
    (argument("accept_damage", True), "accept_damage=True", "--accept-damage"),
    (argument("profile", "exact-resume"), "profile='exact-resume'", "--for exact-resume"),
    (argument("dtypes", ["*.bias=F32"]), "dtypes=['*.bias=F32']", "--dtype '*.bias=F32'"),
    (argument("hints", {"stage": "dpo"}), "hints={'stage': 'dpo'}", "--hint stage=dpo"),
    (argument("max_memory", 7), "max_memory=7", "--max-memory 7"),
    (option("max_shard_size", "5 GB"), "options={'max_shard_size': '5 GB'}", "--max-shard-size '5 GB'"),
    (option("variant"), "options['variant']", "--variant"),
]


@pytest.mark.parametrize(("mark", "python", "shell"), SPELLED)
def test_a_marked_argument_reads_as_python_and_as_a_flag(mark, python, shell):
    for text in (
        UsageError(f"a: {mark}; b").message,
        CorruptError("a", hint=f"a: {mark}; b").hint,
        Finding("CK001", Severity.ERROR, f"a: {mark}; b").message,
        Irreparable(f"a: {mark}; b").reason,
    ):
        assert text == f"a: {python}; b"
        assert in_shell(text) == f"a: {shell}; b"


def test_an_error_shows_python_and_a_message_made_of_it_keeps_both():
    inner = UsageError(f"give {argument('base')}")
    outer = UsageError(f"part: {marked(inner.message)}")
    assert str(outer) == outer.args[0] == "part: give base="
    assert in_shell(outer.message) == "part: give --base"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_both_spellings_outlive_a_copy(again):
    assert in_shell(again(UsageError(f"give {argument('base')}").message)) == "give --base"


@pytest.mark.parametrize("text", ["", "components=['model'] is a folder's name", "a\x02b", "a\x02[1]\x03b", "\x03\x02"])
def test_what_is_no_mark_stays_as_it_is(text):
    assert UsageError(text).message == text
    assert in_shell(UsageError(text).message) == text


COMMANDS = r"ckpt [a-z]+( REF| [A-Z]+| out\.safetensors)* --[a-z-]+|torch_dist.*"
"""Commands that a message tells to run, and Megatron's own flag."""


def test_no_module_below_the_command_line_spells_a_flag_in_a_message():
    """Docstrings and what is a whole command aside; scripts and trainers have flags of their own."""
    own = re.compile(
        r"cli/|testing/|arguments\.py|trainer/|convert_to_hf_format|verify_checkpoint|ckpt_fsdp/megatron_dist/detection"
    )
    root = Path(ckpt_core.__file__).parents[1]
    spelled = []
    for path in [*(root / "ckpt_core").rglob("*.py"), *root.glob("plugins/*/src/**/*.py")]:
        code = re.sub(r'"""(.|\n)*?"""', "", path.read_text())
        for line in code.splitlines():
            text = re.sub(COMMANDS, "", line.partition("  # ")[0])
            if not own.search(str(path)) and re.search(r"[\"' (]--[a-z][a-z_-]+", text):
                spelled.append(f"{path.name}: {line.strip()}")
    assert spelled == []

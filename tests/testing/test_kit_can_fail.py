"""Each rule of the kit fails for a plugin that breaks it: the example of the guide, with one mistake put in."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "npz_plugin"
MISTAKES = {
    "forgets_order": ("if column_major and shape else None", "if None else None", "column_major"),
    "forgets_checksums": ("checkpoint.checksums = ", "_ = ", "a_flipped_bit"),
    "changes_names": ('f"{name}.npy", ck.Tensor', 'f"{name.lower()}.npy", ck.Tensor', "writes_odd_names"),
    "forgets_byte_counts": (
        "ck.ByteRange(path, member.data_offset + start,",
        "ck.ByteRange(path, start,",
        "every_shape",
    ),
    "claims_all": ('if head[:4] in (b"PK\\x03\\x04", b"PK\\x05\\x06") and path', "if path or path", "claims_nothing"),
    "imports_numpy": ("import ast\n", "import ast\nimport numpy\n", "stays_light"),
    "takes_one_of_two": ('layouts.candidates(files, (".npz",))', "one_of(files)", "two_in_a_folder"),
    "writes_the_time": (
        '"fortran_order": False, "shape": info.shape}).encode()',
        '"fortran_order": False, "shape": info.shape}).encode() + b" " * 64 * (id(object()) // 64 % 999)',
        "same_input",
    ),
}
ONE_OF = """

def one_of(files):
    path = next((path for path in files.entries if path.endswith(".npz")), None)
    return [("", path, files.head(path))] if path else []
"""


SAMPLED = ("forgets_order", "forgets_checksums", "takes_one_of_two")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLED else pytest.mark.long) for name in ("none", *MISTAKES)]
)
def test_a_mistake_breaks_the_rule_that_is_about_it(name, tmp_path):
    before, after, test = MISTAKES.get(name, ("", "", "test"))
    source = (EXAMPLE / "ckpt_npz.py").read_text(encoding="utf-8")
    assert before in source
    info = tmp_path / "site" / "ckpt_npz-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text("[ckpt_core.plugins]\nnpz = ckpt_npz\n")
    (info.parent / "ckpt_npz.py").write_text((source.replace(before, after, 1) if before else source) + ONE_OF)
    (tmp_path / "test_ckpt_npz.py").write_text((EXAMPLE / "test_ckpt_npz.py").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", f"TestNpz and {test}"]
    environment = {**os.environ, "PYTHONPATH": str(info.parent)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == (0 if name == "none" else 1), done.stdout
    if name != "none":
        assert re.search(r"rule: .+\nE +format: npz\nE +plugin: ckpt_npz", done.stdout), done.stdout

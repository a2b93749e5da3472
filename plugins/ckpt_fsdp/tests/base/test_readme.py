"""The conversion commands of the README, run one after the other on what they name."""

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def commands():
    section = re.search(r"^## A complete model directory$(.+?)(?:^## |\Z)", README, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r"^```bash\n(.+?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_readme_run_and_make_what_it_says(made, copy_of, tiny_bagel, tmp_path):
    copy_of(made("bagel_dcp_save.py", 4) / "dcp", "0000006")
    tiny_bagel.publish(tmp_path / "BAGEL-7B-MoT")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for text in commands():
        done = subprocess.run(["bash", "-ec", text], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    named = {path.name for path in (tmp_path / "NEW_MODEL_DIR").iterdir()}
    assert {"model.safetensors", "ema.safetensors", "ae.safetensors", "model.safetensors.index.json"} <= named
    assert (tmp_path / "hf_0000006" / "ema.safetensors").exists()
    assert not (tmp_path / "hf_0000006" / "model.safetensors").exists()

"""What a project has beside its code: a licence in every archive, one list of tools, commands that exist."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = [ROOT, *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def toml(project):
    return tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_every_archive_has_the_licence(project, kind, tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(tmp_path)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (archive,) = tmp_path.iterdir()
    licence = (ROOT / "LICENSE").read_bytes()
    if kind == "wheel":
        with zipfile.ZipFile(archive) as opened:
            found = [opened.read(name) for name in opened.namelist() if name.endswith("/licenses/LICENSE")]
    else:
        with tarfile.open(archive) as opened:
            named = [member for member in opened.getmembers() if re.fullmatch(r"[^/]+/LICENSE", member.name)]
            found = [opened.extractfile(member).read() for member in named]
    assert found == [licence]


def test_the_makefile_installs_the_one_list_of_tools():
    groups = toml(ROOT)["dependency-groups"]
    assert "--group dev" in MAKEFILE
    assert "--group docs" in MAKEFILE
    assert not re.search(r"^TOOLS", MAKEFILE, re.MULTILINE)
    tools = [tool for group in groups.values() for tool in group if isinstance(tool, str)]
    named = {re.split(r"[\[>=<~!]", tool)[0] for tool in (*tools, *toml(ROOT)["project"]["dependencies"])}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name = line.partition("==")[0]
        assert line.startswith("#") or name in named, f"{line} constrains what nothing installs"


def test_every_command_that_a_document_or_a_workflow_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / ".github").rglob("*.*")]
    named = {name for page in pages for name in re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)[ `\n]", page.read_text())}
    assert {"test", "docs", "coverage", "demo", "test-wheels"} <= named
    assert {name for name in named if name not in targets} <= {"a"}


def test_the_workflow_runs_the_gate_and_nothing_else_of_its_own():
    runs = re.findall(r"run: (.+)", (ROOT / ".github" / "workflows" / "test.yml").read_text())
    assert ".ci/run" in runs
    assert all(command == ".ci/run" or command.startswith("make ") for command in runs)

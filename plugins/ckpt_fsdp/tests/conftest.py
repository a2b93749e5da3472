"""Checkpoints that the tools themselves write: each made once a run by a script of makers/, for all workers."""

import hashlib
import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

from ckpt_core.cli.main import main

MAKERS = Path(__file__).parent / "makers"


@pytest.fixture(scope="session")
def torchrun(run_maker_script):
    """`torchrun(script, ranks, *arguments)`: run a script of makers/ under torchrun with gloo."""

    def run(script, ranks, *arguments, timeout=240):
        for left in (2, 1, 0):
            try:
                run_maker_script(MAKERS / script, *arguments, ranks=ranks, timeout=timeout)
                return
            except AssertionError as error:  # gloo aborts now and then where a rank ends before the others
                if not left or "exitcode: -6" not in str(error):
                    raise

    return run


@pytest.fixture(scope="session")
def made(made_once, torchrun):
    """`made(script, ranks, *arguments)`: the folder that a maker filled, `OUT` being its first argument. Read only."""

    def make(script, ranks, *arguments):
        name = "-".join([Path(script).stem, str(ranks), *map(str, arguments)]).replace("/", "_")
        return made_once(name, lambda folder: torchrun(script, ranks, folder, *arguments))

    return make


@pytest.fixture
def copy_of(tmp_path):
    """A copy of a made checkpoint, to be broken."""

    def copy(folder, name="copy"):
        return Path(shutil.copytree(folder, tmp_path / name))

    return copy


@pytest.fixture
def judged(capsys):
    """`judged(folder, profile)`: what `ckpt verify --for` says: exit code, verdict, what became of each component."""

    def judge(folder, profile="exact-resume"):
        capsys.readouterr()
        code = main(["verify", str(folder), "--for", profile, "--json"])
        found = json.loads(capsys.readouterr().out)["result"]["assessment"]
        return code, found["verdict"], {line["component"]: line["presence"] for line in found["components"]}

    return judge


@pytest.fixture
def without(judged, copy_of):
    """`without(saved, name)`: exit code, verdict, and the lines that flip where a file or folder is gone or is cut."""

    def lose(saved, name, profile="exact-resume", *, half=False):
        folder = copy_of(saved, f"broken/{Path(saved).name}")
        before = judged(folder, profile)[2]
        _cut_in_half(folder / name) if half else remove(folder / name)
        code, verdict, after = judged(folder, profile)
        flipped = {label: after.get(label) for label in before | after if before.get(label) != after.get(label)}
        return code, verdict, flipped

    return lose


def _cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


def remove(path):
    """Remove a file, or a folder with all in it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="session")
def resumed(tmp_path_factory, torchrun):
    """`resumed(script, attempts)`: what fresh processes came to that resumed from each of these, by name."""

    def resume(script, attempts):
        out = tmp_path_factory.mktemp("resumed")
        torchrun(script, 2, out, "resume", *attempts)
        found = json.loads((out / "outcomes.json").read_text())
        early = found.pop("ended early", "")
        missing = {Path(str(attempt).partition("=")[2] or attempt).name for attempt in attempts} - found.keys()
        assert not missing, f"{script} ended early {early} and came to nothing of {sorted(missing)}"
        return found

    return resume


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
    """`copies({name: (folder, what is removed or None)})`: copies of checkpoints under these names, by name."""

    def copy(wanted):
        root = tmp_path_factory.mktemp("copies")
        for name, (folder, gone) in wanted.items():
            shutil.copytree(folder, root / name)
            if gone is not None:
                remove(root / name / gone)
        return {name: root / name for name in wanted}

    return copy


@pytest.fixture(scope="session")
def tiny_bagel():
    """The module makers/tiny_bagel.py, which the scripts beside it import too."""
    return _maker("tiny_bagel")


@pytest.fixture(scope="session")
def save_ranks():
    """`save_ranks(folder, name_of, tensors, mesh_shape, placements, wrap)` of makers/faked_ranks.py."""
    return _maker("faked_ranks").save_ranks


def _maker(name):
    spec = importlib.util.spec_from_file_location(name, MAKERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def base_model(tiny_bagel, tmp_path):
    """A tiny base model as BAGEL publishes its own, and the digests of its files, which no test may change."""
    folder = tiny_bagel.publish(tmp_path / "base")
    before = digests(folder)
    yield folder
    assert digests(folder) == before


def digests(folder):
    """sha256 of every file below a folder, by its path."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

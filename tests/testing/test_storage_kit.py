"""The kit for storage holds for the filesystems that ckpt speaks to, and each rule fails for one that breaks it."""

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from ckpt_core.testing import StorageTests


class TestMemory(StorageTests):
    format = "fsspec's memory"

    def filesystem(self):
        from fsspec import filesystem

        return filesystem("memory")

    def folder(self):
        return f"/{uuid.uuid4().hex}"


class _InBucket(StorageTests):
    conditional = True

    @pytest.fixture(autouse=True)
    def _stored(self, request):
        self.stored = request.getfixturevalue(self.format)
        self.writer = self.stored.filesystem

    def filesystem(self):
        return self.stored.filesystem

    def put(self, name, data):
        self.writer.pipe_file(name, data)

    def folder(self):
        return f"{self.stored.url.partition('://')[2]}/{uuid.uuid4().hex}"


class TestS3(_InBucket):
    format = "s3"


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # gcsfs does
class TestGcs(_InBucket):
    format = "gcs"


BROKEN = """
import uuid
from fsspec.implementations.memory import MemoryFileSystem
from ckpt_core.testing import StorageTests

class Broken(MemoryFileSystem):
    cachable = False
    {mistake}

class TestBroken(StorageTests):
    format = "broken"
    conditional = True

    def filesystem(self):
        return Broken()

    def folder(self):
        return f"/{{uuid.uuid4().hex}}"

    def put(self, name, data):
        MemoryFileSystem(skip_instance_cache=True).pipe_file(name, data)
"""

MISTAKES = {
    "lists_one_level": (
        "def find(self, path, detail=False, **more):\n        return super().find(path, maxdepth=1, detail=detail)",
        "every_file",
    ),
    "finds_what_is_not_there": (
        "def info(self, path, **more):\n        return {'name': path, 'size': 0, 'type': 'file'}",
        "from_nothing",
    ),
    "forgets_the_start": (
        "def cat_file(self, path, start=None, end=None, **more):\n        return super().cat_file(path, 0, end)",
        "a_range",
    ),
    "answers_out_of_order": (
        "def cat_ranges(self, *ranges, **more):\n        return super().cat_ranges(*ranges, **more)[::-1]",
        "in_order",
    ),
    "has_no_version": (
        "def find(self, *path, **more):\n"
        "        return {name: {'name': name, 'type': 'file', 'size': one['size']}"
        " for name, one in super().find(*path, **more).items()}",
        "tells_contents_apart",
    ),
    "unquotes": (
        "def cat_ranges(self, paths, *more, **named):\n"
        "        return super().cat_ranges([p.replace('%20', ' ') for p in paths], *more, **named)",
        "odd_names",
    ),
    "overwrites_all_the_same": (
        "def pipe_file(self, path, value, mode='overwrite', **more):\n        super().pipe_file(path, value)",
        "several_writers",
    ),
    "flips_a_bit": (
        "def cat_ranges(self, *ranges, **more):\n"
        "        return [bytes(reversed(data)) for data in super().cat_ranges(*ranges, **more)]",
        "sealed_checkpoint",
    ),
    "keeps_listings": (
        "kept = {}\n"
        "    def find(self, path, **more):\n"
        "        return self.kept.setdefault(path, super().find(path, **more))",
        "is_fresh",
    ),
}
SAMPLED = ("overwrites_all_the_same", "has_no_version")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLED else pytest.mark.long) for name in MISTAKES]
)
def test_a_mistake_breaks_the_rule_that_is_about_it(name, tmp_path):
    mistake, broken = MISTAKES[name]
    (tmp_path / "test_broken.py").write_text(BROKEN.format(mistake=mistake))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", broken, "test_broken.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout
    assert "rule: " in done.stdout and "1 failed" in done.stdout


def test_the_example_of_the_guide_breaks_no_rule_but_the_one_it_says(tmp_path):
    page = Path(__file__).resolve().parents[2] / "docs" / "object-stores.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "test_mine.py").write_text(example.replace("/tmp/tried", str(tmp_path / "tried")))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rf", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    broken = set(re.findall(r"^FAILED \S+::(\w+)", done.stdout, re.MULTILINE))
    assert broken <= {"test_a_reader_sees_the_old_file_or_the_new_one"}, done.stdout
    assert len(re.findall(r"\d+ passed", done.stdout)) == 1, done.stdout

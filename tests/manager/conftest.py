import json
import struct
import sys

import pytest

from ckpt_core.manager.plugin_manager import CkptPluginManager


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts plugins on the path as an installer would: modules and `dist-info` folders, nothing run."""
    before = set(sys.modules)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def put(name, code, *, entry=None, requires=(), version="1.0", folder=None):
        where = folder or site
        module = f"plugin_{name}"
        if code is not None:
            (where / f"{module}.py").write_text(f"from ckpt_core import *\n{code}")
        info = where / f"dist_{name}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: dist-{name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n\nRequires-Dist: ckpt-core>=77 in a readme\n")
        (info / "entry_points.txt").write_text(f"[ckpt_core.plugins]\n{name} = {entry or module}\n")
        return site

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("plugin_"):
            del sys.modules[name]


@pytest.fixture
def site(tmp_path):
    return str(tmp_path / "site")


@pytest.fixture
def manager():
    """Core's own plugins only."""
    made = CkptPluginManager()
    made.load_builtin()
    return made


@pytest.fixture
def checkpoint(tmp_path):
    """A real safetensors file."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    return str(path)

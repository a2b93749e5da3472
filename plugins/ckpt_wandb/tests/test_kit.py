"""The kits for `wandb://`: what is put is logged by the real client, as a new version of an artifact."""

from contextlib import contextmanager

import pytest
from ckpt_wandb.filesystem import WandbFileSystem

from ckpt_core import Query
from ckpt_core.storage.remote.filesystems import served
from ckpt_core.testing import LocateTests, StorageTests
from tests.servers.wandb.samples import safetensors


class TestWandb(StorageTests):
    format = "wandb"

    @pytest.fixture(autouse=True)
    def _in_a_project(self, project, folder_of):
        self._project, self._folder_of = project, folder_of
        self._held = {}

    def filesystem(self):
        return WandbFileSystem(skip_instance_cache=True)

    def folder(self):
        return f"{self._project.name}/m:latest"

    def put(self, name, data):
        self._held[name.removeprefix(f"{self.folder()}/")] = data
        self._log()

    def remove(self, name):
        del self._held[name.removeprefix(f"{self.folder()}/")]
        self._log()

    @contextmanager
    def place(self, files):
        self._held = dict(files)
        self._log()
        with served("memory", self.filesystem()):
            yield f"memory://{self.folder()}", self.folder()

    def _log(self):
        self._project.log("m", self._folder_of(self._held or {"nothing.left": b""}))


class TestLocate(LocateTests):
    plugin_module = "ckpt_wandb.plugin"

    @pytest.fixture(autouse=True)
    def _with_two_versions(self, project, folder_of, monkeypatch):
        for number in range(2):
            project.log("m", folder_of({"model.safetensors": safetensors(number)}))
        self._project, self._monkeypatch = project, monkeypatch

    def mine(self):
        refs = ("m:latest", "m:v0", "m", "m:latest/model.safetensors")
        return [*(Query(self._project.url(ref)) for ref in refs), Query(f"{self._project.name}/m:latest")]

    def missing(self):
        return [Query(self._project.url(ref)) for ref in ("m:v7", "other:v0", "m:v0/none.bin")]

    @contextmanager
    def silent(self):
        self._monkeypatch.setenv("CKPT_REMOTE_TIMEOUT", "2")
        self._project.server.faults.add("502", "graphql")
        yield
        self._project.server.faults.clear()

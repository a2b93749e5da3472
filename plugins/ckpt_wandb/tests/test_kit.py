"""The storage kit for `wandb://`: what is put is logged by the real client, as a new version of an artifact."""

from contextlib import contextmanager

import pytest
from ckpt_wandb.filesystem import WandbFileSystem

from ckpt_core.storage.remote.filesystems import served
from ckpt_core.testing.storage_tests import StorageTests


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

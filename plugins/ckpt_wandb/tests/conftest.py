"""A double of W&B's server for this folder's tests, and artifacts that the real client logged to it."""

import gc
import os
import subprocess
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.servers.wandb.server import WandbServer  # noqa: E402

_KILLED = """
import os, sys
from ckpt_wandb import download
left = int(sys.argv[3])
def progress(nbytes):
    global left
    left -= nbytes
    if left <= 0:
        os.kill(os.getpid(), 9)
download(sys.argv[1], sys.argv[2], progress=progress)
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The client never closes the connections that it asks for manifests; they are news when they are collected."""
    passed_over = pytest.mark.filterwarnings("ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(passed_over)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_to_collect() -> Iterator[None]:
    """The client's connections are collected here, and not in the middle of another folder's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@dataclass(frozen=True, slots=True)
class Project:
    """A project of a test's own.

    Attributes:
        server: The double that has it.
        name: `local/…`.
        log: `log(name, folder, …)` logs an artifact of the folder by the real client, as its own version.
        env: What a process needs to reach it.
    """

    server: WandbServer
    name: str
    log: Callable[..., str]
    env: dict[str, str]
    root: Path = ROOT

    def url(self, artifact: str) -> str:
        return f"wandb://{self.name}/{artifact}"

    def settings(self) -> Any:
        """Of a run of the real client: it keeps to the server of its process's first run, where it is told of none."""
        import wandb

        return wandb.Settings(base_url=self.server.url, console="off", silent=True)

    def asked(self) -> list[str]:
        """What was asked since `forget`, one word a request."""
        return [request.kind for request in self.server.requests if request.kind != "other"]

    def forget(self) -> None:
        self.server.requests.clear()

    def download_killed(self, artifact: str, destination: Path, *, after: int) -> "subprocess.CompletedProcess[str]":
        """Download in a process that kills itself once it was told of so many bytes."""
        command = [sys.executable, "-c", _KILLED, self.url(artifact), str(destination), str(after)]
        return subprocess.run(command, env=self.env, capture_output=True, text=True)


@pytest.fixture
def wandb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """A server of a test's own: calls that an earlier test gave up still ask in the background, elsewhere."""
    server = WandbServer(tmp_path_factory.mktemp("wandb-server"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def wandb_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The client's environment but for its server: every folder of its own is below the run's temporary one."""
    base = tmp_path_factory.mktemp("wandb-client")
    folders = {f"WANDB_{name}_DIR": str(base / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT")}
    for folder in folders.values():
        Path(folder).mkdir()
    quiet = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false", "WANDB_DISABLE_GIT": "true"}
    return {**folders, **quiet, "WANDB_DIR": str(base), "NETRC": str(base / "netrc")}


@pytest.fixture
def project(wandb_server: WandbServer, wandb_folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that holds nothing yet, on a server that behaves; the process reaches it."""
    for name, value in (wandb_folders | wandb_server.environment()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CKPT_WANDB_CACHE_BYTES", "0")  # no test finds what another one downloaded
    place = f"p{uuid.uuid4().hex[:8]}"

    def log(name: str, folder: Path, *, aliases: tuple[str, ...] = (), **about: object) -> str:
        import wandb

        references = about.pop("references", ())
        artifact = wandb.Artifact(name, **{"type": "model", **about})
        artifact.add_dir(str(folder), skip_cache=True, policy="immutable")
        for url, options in references:
            artifact.add_reference(url, **options)
        settings = wandb.Settings(
            base_url=wandb_server.url, console="off", silent=True, x_disable_stats=True, x_disable_meta=True
        )
        with wandb.init(project=place, entity="local", settings=settings) as run:
            logged = run.log_artifact(artifact, aliases=list(aliases)).wait()
        return str(logged.version)

    # Without the service that this process may have started: a run of another process would live on in it.
    env = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return Project(wandb_server, f"local/{place}", log, env)


@pytest.fixture
def command(project: Project, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`command(*words)` runs `ckpt` in this process: its exit code, stdout and stderr."""
    from ckpt_core import get_plugin_manager
    from ckpt_core.cli.main import main

    def run(*words: str) -> tuple[int, str, str]:
        get_plugin_manager.cache_clear()  # a process of its own knows nothing of plugins that failed in other tests
        capsys.readouterr()
        code = main(list(words))
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[..., Path]:
    """`folder_of({path: bytes, …})`: a folder with these files."""

    def make(files: dict[str, bytes]) -> Path:
        folder = tmp_path / uuid.uuid4().hex[:8]
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        return folder

    return make

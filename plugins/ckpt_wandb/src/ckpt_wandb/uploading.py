"""Upload a checkpoint as a version of an artifact.

It is waited for, and believed when its manifest reads back the same.

The server makes a version when all of its files are there, and only then moves the aliases: an upload that stops before
leaves `latest` where it was. What a version before has already is not sent again.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt_core import CheckpointNotFoundError, CorruptError, NoAnswerError, UsageError, printable, remote_timeout
from ckpt_wandb.about import about
from ckpt_wandb.artifacts import PinnedArtifact, open_artifact
from ckpt_wandb.client import client
from ckpt_wandb.deadlines import THREAD
from ckpt_wandb.digests import Digest
from ckpt_wandb.failures import no_key
from ckpt_wandb.refs import SCHEME, ArtifactRef, parse

_SLAB = 2 << 20

SECONDS = 3600
"""Until an upload counts as failed: the client by itself asks again for longer than anybody waits."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The outcome of an upload.

    Attributes:
        ref: The version, pinned; None where the run is offline, which `wandb sync` uploads later.
        digest: Of its manifest; "" where the run is offline.
        is_new: Whether a version was made; False where one had just this content already.
        files: The paths in it.
        aliases: That mean it now, or will once it is synced.
        record: The folder that `wandb sync` takes; None where the run is online.
    """

    ref: str | None
    digest: str
    is_new: bool
    files: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    record: str | None = None


def upload(
    folder: str | os.PathLike[str],
    ref: str,
    *,
    aliases: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    type: str = "model",
    run: Any = None,
    timeout: int | None = None,
) -> Upload:
    """Upload a folder as a version of an artifact.

    Args:
        folder: What is to be in it, hidden files too.
        ref: `entity/project/name`, with `wandb://` or without; the server chooses the version.
        aliases: That shall mean it, beside `latest` and, where the step is known, `step-N`.
        metadata: Beside `format`, `step`, `components`, `metrics` and `fingerprint`, which are read off the checkpoint.
        type: Of the artifact.
        run: An active run of wandb that logs it; None for a run of its own.
        timeout: Seconds until the upload counts as failed; None for an hour.

    Raises:
        UsageError: The ref names no artifact, or a version of one.
        CheckpointNotFoundError: The folder is not there, or holds no files.
        NoAnswerError: W&B did not take it: the version does not exist, and `latest` is what it was.
        CorruptError: The manifest of the version is not what was uploaded.
    """
    asked = parse(ref)
    if asked.path or ":" in ref.removeprefix(SCHEME):
        raise UsageError(f"{printable(ref)}: the server chooses the version; give ENTITY/PROJECT/NAME, and aliases")
    if not os.fspath(folder):
        raise UsageError("an empty name: no folder to upload; name one, . for the current one")
    place = Path(folder).absolute()  # the client's own process, which reads the files, may be in another folder
    known = {**about(str(place)), **(metadata or {})}
    return publish(_files(place), asked, aliases=aliases, metadata=known, type=type, run=run, timeout=timeout)


def publish(
    files: Mapping[str, Path],
    asked: ArtifactRef,
    *,
    aliases: Sequence[str],
    metadata: Mapping[str, Any],
    type: str = "model",
    run: Any = None,
    timeout: int | None = None,
) -> Upload:
    """Make a version of files, by their paths in it; see `upload`."""
    named = (*aliases, *([f"step-{metadata['step']}"] if metadata.get("step") is not None else []))
    place = f"{SCHEME}{asked.entity}/{asked.project}/{asked.name}"
    with _run(asked, run, place) as running:
        before = -1 if running.offline else _newest(asked)
        logged = _log(running, asked, files, metadata, type, named)
        if running.offline:
            record = str(Path(str(running.dir)).parent)
            return Upload(None, "", True, tuple(files), ("latest", *named), record)
        seconds = timeout or SECONDS
        try:
            logged.wait(seconds)
        except Exception as error:
            if _is_late(error):
                raise _not_in_time(place, client().host, seconds, "timeout=") from None
            raise _refused(place, client().host, error) from None
        version = str(logged.version)
    made = open_artifact(asked.at(version))
    _check(made, files)
    return Upload(str(made.ref), made.digest, int(version[1:]) > before, tuple(files), ("latest", *named))


def _files(folder: Path) -> dict[str, Path]:
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not files:
        raise CheckpointNotFoundError(f"{printable(str(folder))}: no folder with files in it; check the name")
    return files


def _newest(asked: ArtifactRef) -> int:
    """Return the number of the newest version.

    -1 where there is no such artifact yet.
    """
    try:
        return max(int(version.name[1:]) for version in open_artifact(asked.at("latest")).versions(1))
    except CheckpointNotFoundError:
        return -1


@contextmanager
def _run(asked: ArtifactRef, given: Any, place: str) -> Iterator[Any]:
    """Give the run that logs the artifact.

    The one that was given, or one that ends with the upload.
    """
    if given is not None:
        yield given
        return
    import wandb

    settings = wandb.Settings(
        base_url=client().base_url, console="off", silent=True, init_timeout=float(remote_timeout())
    )
    began = time.monotonic()
    try:
        made = wandb.init(project=asked.project, entity=asked.entity, job_type="upload", settings=settings)
    except wandb.errors.UsageError:
        raise no_key(place, client().host) from None
    except wandb.errors.Error as error:
        seconds = remote_timeout()
        if time.monotonic() - began >= seconds:
            raise _not_in_time(place, client().host, seconds, "CKPT_REMOTE_TIMEOUT") from None
        _newest(asked)  # raises what the client does not say: a key that is refused, say
        raise _refused(place, client().host, error) from None
    try:
        yield made
    except BaseException:
        _finish(made, 1)
        raise
    _finish(made, 0)


def _finish(run: Any, code: int) -> None:
    """End a run, within the deadline.

    The client waits for minutes for a server that it just gave up. What it then complains of was said already.
    """

    def finish() -> None:
        with suppress(Exception):
            run.finish(code)

    ending = threading.Thread(target=finish, name=THREAD, daemon=True)
    ending.start()
    ending.join(remote_timeout())


def _log(run: Any, asked: ArtifactRef, files: Mapping[str, Path], about: Any, type: str, aliases: Sequence[str]) -> Any:
    import wandb

    artifact = wandb.Artifact(asked.name, type, metadata=about)
    # Offline the files are needed until somebody syncs, when they may be other ones: the client keeps a copy then.
    policy = "mutable" if run.offline else "immutable"
    for name, path in files.items():
        artifact.add_file(str(path), name=name, skip_cache=True, policy=policy)
    return run.log_artifact(artifact, aliases=["latest", *aliases])


def _refused(place: str, host: str, error: Exception) -> NoAnswerError:
    kind = type(error).__name__
    return NoAnswerError(
        f"{place}: W&B at {host} did not take the upload ({kind}); no version was made, and latest is what it was; "
        "check the connection and run it again"
    )


def _is_late(error: Exception) -> bool:
    """Return whether the client waited in vain.

    The class by which it says so is none of its public names.
    """
    return type(error).__name__ == "WaitTimeoutError"


def _not_in_time(place: str, host: str, seconds: int, limit: str) -> NoAnswerError:
    return NoAnswerError(
        f"{place}: W&B at {host} did not take the upload within {seconds} s; no version was made, and latest is what "
        f"it was; check the connection and WANDB_BASE_URL, and run it again, or set {limit}"
    )


def _check(made: PinnedArtifact, files: Mapping[str, Path]) -> None:
    """Compare the version's manifest with the files on disk."""
    odd = sorted(made.entries.keys() ^ files.keys())
    for path in made.entries.keys() & files.keys():
        digest = Digest(made.entries[path].algorithm)
        with files[path].open("rb") as file:
            while data := file.read(_SLAB):
                digest.see(memoryview(data))
        if digest.text() != made.entries[path].digest:
            odd.append(path)
    if odd:
        raise CorruptError(
            f"{made.ref}: is not what was uploaded ({', '.join(map(printable, odd[:6]))}); "
            "were the files changed meanwhile? upload them again",
            code="WB003",
        )

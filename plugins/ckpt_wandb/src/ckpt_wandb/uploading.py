"""Upload a checkpoint as a version of an artifact: waited for, and believed when its manifest reads back the same.

The server makes a version when all of its files are there, and only then moves the aliases: an upload that stops before
leaves `latest` where it was. What a version before has already is not sent again.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpt_core import CheckpointNotFoundError, CkptError, CorruptError, NoAnswerError, UsageError, inspect, printable
from ckpt_wandb.artifacts import PinnedArtifact, open_artifact
from ckpt_wandb.client import client
from ckpt_wandb.digests import Digest
from ckpt_wandb.failures import no_key
from ckpt_wandb.refs import ArtifactRef, parse

_SLAB = 2 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of an upload.

    Attributes:
        ref: The version, pinned; None where the run is offline, which `wandb sync` uploads later.
        digest: Of its manifest; "" where the run is offline.
        is_new: Whether a version was made; False where one had just this content already.
        files: The paths in it.
    """

    ref: str | None
    digest: str
    is_new: bool
    files: tuple[str, ...]


def upload(
    folder: str | os.PathLike[str],
    ref: str,
    *,
    aliases: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    type: str = "model",
    run: Any = None,
    timeout: int = 3600,
) -> Upload:
    """Upload a folder as a version of an artifact.

    Args:
        folder: What is to be in it, hidden files too.
        ref: `entity/project/name`, with `wandb://` or without; the server chooses the version.
        aliases: That shall mean it, beside `latest` and, where the step is known, `step-N`.
        metadata: Beside `format`, `step` and `components`, which are read off the checkpoint.
        type: Of the artifact.
        run: An active run of wandb that logs it; None for a run of its own.
        timeout: Seconds until the upload counts as failed.

    Raises:
        UsageError: The ref names no artifact, or a version of one.
        CheckpointNotFoundError: The folder is not there, or holds no files.
        NoAnswerError: W&B did not take it: the version does not exist, and `latest` is what it was.
        CorruptError: The manifest of the version is not what was uploaded.
    """
    asked = parse(ref)
    if asked.path or ":" in ref.removeprefix("wandb://"):
        raise UsageError(f"{printable(ref)}: the server chooses the version; give ENTITY/PROJECT/NAME, and aliases")
    if not os.fspath(folder):
        raise UsageError("an empty name: no folder to upload; name one, . for the current one")
    files = _files(Path(folder).absolute())  # the client's own process, which reads them, may be in another folder
    about = {**_about(folder), **(metadata or {})}
    named = (*aliases, *([f"step-{about['step']}"] if about.get("step") is not None else []))
    place = f"wandb://{asked.entity}/{asked.project}/{asked.name}"
    with _run(asked, run, place) as running:
        before = -1 if running.offline else _newest(asked)
        logged = _log(running, asked, files, about, type, named)
        if running.offline:
            return Upload(None, "", True, tuple(files))
        try:
            logged.wait(timeout)
        except Exception as error:
            raise _refused(place, client().host, error) from None
        version = str(logged.version)
    made = open_artifact(asked.at(version))
    _check(made, files)
    return Upload(str(made.ref), made.digest, int(version[1:]) > before, tuple(files))


def _files(folder: Path) -> dict[str, Path]:
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not found:
        raise CheckpointNotFoundError(f"{printable(str(folder))}: no folder with files in it; check the name")
    return found


def _about(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What the artifact's metadata says of the checkpoint; nothing where the folder is none, or holds several."""
    try:
        checkpoint = inspect(os.fspath(folder)).checkpoint
    except CkptError:
        return {}
    if checkpoint is None:
        return {}
    components = [component.label for component in checkpoint.manifest.components]
    steps = [c.state.get("global_step") for c in checkpoint.manifest.components if isinstance(c.state, dict)]
    step = next((step for step in (checkpoint.match.step, *steps) if step is not None), None)
    return {"format": checkpoint.match.format, "step": step, "components": components}


def _newest(asked: ArtifactRef) -> int:
    """The number of the newest version; -1 where there is no such artifact yet."""
    try:
        return max(int(version.name[1:]) for version in open_artifact(asked).versions(1))
    except CheckpointNotFoundError:
        return -1


@contextmanager
def _run(asked: ArtifactRef, given: Any, place: str) -> Iterator[Any]:
    """The run that logs the artifact: the one that was given, or one that ends with the upload."""
    if given is not None:
        yield given
        return
    import wandb

    settings = wandb.Settings(console="off", silent=True)
    try:
        made = wandb.init(project=asked.project, entity=asked.entity, job_type="upload", settings=settings)
    except wandb.errors.UsageError:
        raise no_key(place, client().host) from None
    except wandb.errors.Error as error:
        raise _refused(place, client().host, error) from None
    try:
        yield made
    finally:
        made.finish()


def _log(run: Any, asked: ArtifactRef, files: Mapping[str, Path], about: Any, type: str, aliases: Sequence[str]) -> Any:
    import wandb

    artifact = wandb.Artifact(asked.name, type, metadata=about)
    for name, path in files.items():
        artifact.add_file(str(path), name=name, skip_cache=True, policy="immutable")
    return run.log_artifact(artifact, aliases=["latest", *aliases])


def _refused(place: str, host: str, error: Exception) -> NoAnswerError:
    kind = type(error).__name__
    return NoAnswerError(
        f"{place}: W&B at {host} did not take the upload ({kind}); no version was made, and latest is what it was; "
        "check the connection and run it again"
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

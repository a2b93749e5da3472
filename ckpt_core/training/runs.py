"""The kind of run that a path or a URL is."""

from ckpt_core.storage.urls import local_path
from ckpt_core.storage.writing.publishing.publisher import is_published
from ckpt_core.training.run import Run
from ckpt_core.training.run_folder import RunFolder


def open_run(run: str) -> Run:
    """Return the run at a path or the URL of a store.

    Nothing is read yet.

    Raises:
        UnsupportedFormatError: Nothing is written to such URLs.
    """
    if local_path(run) is not None:
        return RunFolder(run)
    from ckpt_core.training.tiers.run_store import RunStore

    return RunStore(run)


def open_any_run(run: str) -> Run:
    """Return the run at a path or URL.

    Its checkpoints may be versions. For what lists and removes: nothing is saved to versions but by uploads.

    Raises:
        UnsupportedFormatError: No run can be at such URLs.
        UsageError: The URL names nothing that has versions.
    """
    if local_path(run) is not None or not is_published(run):
        return open_run(run)
    from ckpt_core.training.tiers.run_versions import RunVersions

    return RunVersions(run)


def open_far_run(url: str) -> Run | None:
    """Return the run that is uploaded to.

    None where it cannot be listed, since what is there is published by versions.

    Raises:
        UnsupportedFormatError: Nothing is written to such URLs.
    """
    return None if local_path(url) is None and is_published(url) else open_run(url)

"""Bisect: find the first version for which a command fails."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.text import printable
from ckpt_core.storage.urls import local_path
from ckpt_core.verbs.checked_arguments import checked
from ckpt_core.verbs.reference import Destination, destination_of
from ckpt_core.verbs.versions.history import VersionList, list_versions, number_in

SKIP = 125
"""Exit code of a command that cannot tell. Source: git-bisect(1), "Bisect run"."""

_MOST = 127
"""Greatest exit code that says that a version is bad; from 128 on the search ends. Source: the same."""

REF = "BISECT_REF"
"""The environment variable in which a command finds the ref of the version."""


@dataclass(frozen=True, slots=True)
class Bisection:
    """The outcome of a search among versions.

    Attributes:
        store: Where they are.
        first_bad: Names of the first version that is bad, or of those that may be where commands could not tell.
        last_good: Name of the last version before it that is good.
        tried: What came of each version that was tried: `good`, `bad` or `skipped`, in order.
    """

    store: str
    first_bad: tuple[str, ...]
    last_good: str
    tried: Mapping[str, str]


@checked()
def bisect(
    store: Destination,
    command: Sequence[str],
    *,
    good: str | int | None = None,
    bad: str | int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    run: Callable[[list[str], dict[str, str]], int] | None = None,
) -> Bisection:
    """Find the first version for which a command fails.

    In about log2 of their number runs.

    The command is run with the ref of a version, such as `STORE@v3`, in place of each `{}`, and in the environment as
    `BISECT_REF`. As for `git bisect run`: exit code 0 says that the version is good, 1 to 127 that it is bad, 125
    that it cannot be told; any other ends the search.

    Args:
        store: Its path or URL.
        command: The command and its arguments.
        good: A version that is known to be good; None for the oldest, which is tried.
        bad: A version that is known to be bad; None for the newest, which is tried.
        storage_options: For the clients of s3://, gs:// and hf://, by their own names, such as `endpoint_url`; None for
            what their configuration says.
        run: Runs a command with an environment, and returns its exit code; None for a process.

    Raises:
        CheckpointNotFoundError: No store is there.
        UsageError: No command, fewer than two versions, a bad one before the good one; or the command ended with
            another code, was not found, calls the oldest bad, or the newest good.
    """
    if not command or isinstance(command, str):
        raise UsageError(f"{argument('command')}: a command and its arguments are needed, such as python eval.py {{}}")
    versions = list_versions(store)
    numbers = [record.number for record in versions.versions]
    if len(numbers) < 2:
        raise UsageError(f"{versions.store}: has {len(numbers)} versions, and a search needs two")
    search = _Search(destination_of(store, "store"), list(command), run or _run)
    low, high = _ends(versions, numbers, good, bad, search)
    first, last = _searched(numbers, numbers.index(low), numbers.index(high), search)
    return Bisection(versions.store, tuple(f"v{one}" for one in first), f"v{last}", search.tried)


def _ends(
    versions: VersionList, numbers: Sequence[int], good: str | int | None, bad: str | int | None, search: "_Search"
) -> tuple[int, int]:
    """Return a good version and a later one that is bad."""
    low = numbers[0] if good is None else number_in(versions, good)
    high = numbers[-1] if bad is None else number_in(versions, bad)
    if low >= high:
        raise UsageError(f"{versions.store}: v{high}, which is bad, is not after v{low}, which is good; exchange them")
    if bad is None and search.verdict(high) != "bad":
        said = "the command does not fail for the newest; name one for which it does"
        raise UsageError(f"{versions.store}@v{high}: {said} as {argument('bad')}")
    if good is None and search.verdict(low) != "good":
        said = "the command does not succeed for the oldest; name one for which it does"
        raise UsageError(f"{versions.store}@v{low}: {said} as {argument('good')}")
    return low, high


def _searched(numbers: Sequence[int], low: int, high: int, search: "_Search") -> tuple[list[int], int]:
    """Return the first bad version, and the last good one.

    Several where it cannot be told; `low` and `high` are places in the list.
    """
    skipped: set[int] = set()
    while True:
        between = [at for at in range(low + 1, high) if at not in skipped]
        if not between:
            return [numbers[at] for at in range(low + 1, high + 1)], numbers[low]
        middle = (low + high) // 2
        at = min(between, key=lambda one: abs(one - middle))
        verdict = search.verdict(numbers[at])
        if verdict == "skipped":
            skipped.add(at)
        elif verdict == "good":
            low = at
        else:
            high = at


class _Search:
    """Runs the command, each version once."""

    def __init__(self, store: str, command: list[str], run: Callable[[list[str], dict[str, str]], int]) -> None:
        path = local_path(store)
        self._store = store if path is None else os.path.abspath(path)
        self._command, self._run = command, run
        self.tried: dict[str, str] = {}

    def verdict(self, number: int) -> str:
        """Return what the command says of a version: `good`, `bad` or `skipped`.

        UsageError where it ends the search.
        """
        ref = f"{self._store}@v{number}"
        code = self._run([part.replace("{}", ref) for part in self._command], {**os.environ, REF: ref})
        if not 0 <= code <= _MOST:
            raise UsageError(
                f"{ref}: the command ended with {code}, which is no verdict; use 0, 1 to 127, or 125 to skip"
            )
        said = "good" if code == 0 else "skipped" if code == SKIP else "bad"
        self.tried[f"v{number}"] = said
        return said


def _run(command: list[str], environment: dict[str, str]) -> int:
    try:
        return subprocess.run(command, env=environment, stdout=2, check=False).returncode
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"{printable(command[0], 120)}: cannot be run ({reason}); check the command") from error

"""The provenance of a run, compared with what goes on.

Data, workers, world size, versions, arguments.
"""

from collections.abc import Mapping
from typing import Any

from ckpt_core.training.data.fingerprints import fingerprint
from ckpt_core.training.planning.rows import Rows

_FOLLOWS = {
    "batch_size": "the losses are not those of an uninterrupted run",
    "num_workers": "the samples are the same again",
    "fingerprint": "the data is another",
}
"""What follows where one of the data is otherwise."""

_DEALS = "KeyedLoader"
"""What deals the samples of a batch out to however many ranks there are."""

_BITS = "losses may differ in their last digits"


def provenance_of(environment: Mapping[str, Any], loader: Any) -> dict[str, Any]:
    """Return what a training runs on, its data too."""
    return {**environment, "data": data_of(loader)}


def data_of(loader: Any) -> dict[str, Any]:
    """Return the known facts of a training's data.

    They are plain values; what a loader does not say is left out.
    """
    dataset = getattr(loader, "dataset", None)
    known = {
        "loader": None if loader is None else type(loader).__name__,
        "batch_size": getattr(loader, "batch_size", None),
        "num_workers": getattr(loader, "num_workers", None),
        "samples": _length(dataset),
        "fingerprint": fingerprint(dataset),
    }
    return {key: value for key, value in known.items() if isinstance(value, int | str)}


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None  # an iterable one


def compare_provenance(rows: Rows, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Add rows of what a training runs on.

    Nothing of it is refused.
    """
    before, now = _dict(saved, "data"), _dict(given, "data")
    for key in ("batch_size", "num_workers", "fingerprint") if now else ():
        if rows.of(f"sampler: {key}") is None:
            rows.compare(f"sampler: {key}", before.get(key), now.get(key), _FOLLOWS[key])
    keyed = before.get("loader") == now.get("loader") == _DEALS
    follows = "a rank has another part of the same batches" if keyed else "a step sees other samples at a time"
    rows.compare("world size", saved.get("world_size"), given.get("world_size"), follows)
    for name in sorted({*_dict(saved, "versions"), *_dict(given, "versions")}):
        first, second = _dict(saved, "versions").get(name), _dict(given, "versions").get(name)
        if first != second:
            rows.compare(f"version of {name}", first, second, _BITS)
    if saved.get("git_commit") != given.get("git_commit"):
        rows.compare("git commit", saved.get("git_commit"), given.get("git_commit"), "the code is another")
    compare_arguments(rows, _dict(saved, "arguments"), _dict(given, "arguments"))


def compare_arguments(rows: Rows, saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Add a row of each argument that is otherwise than it was.

    None where none are given.
    """
    for name in sorted({*saved, *given}, key=str) if given else ():
        if saved.get(name) != given.get(name):
            rows.compare(f"argument {name}", _plain(saved.get(name)), _plain(given.get(name)))


def _dict(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)

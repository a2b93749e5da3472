"""What a dataset says of its own content, so that another one under the same name is told from it."""


def fingerprint(dataset: object) -> str | None:
    """Return what a dataset says of its content: its `_fingerprint` (of `datasets`) or `fingerprint`; else None."""
    for name in ("_fingerprint", "fingerprint"):
        found = getattr(dataset, name, None)
        if isinstance(found, str):
            return found
    return None

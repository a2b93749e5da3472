"""A dataset's fingerprint of its own content.

Another one under the same name is told from it.
"""


def fingerprint(dataset: object) -> str | None:
    """Return a dataset's fingerprint of its content.

    Its `_fingerprint` (of `datasets`) or `fingerprint`; else None.
    """
    for name in ("_fingerprint", "fingerprint"):
        found = getattr(dataset, name, None)
        if isinstance(found, str):
            return found
    return None

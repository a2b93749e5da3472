"""Parts of an upload composed to one object.

At most 32 are composed at once; more are composed in levels.

Source: Google Cloud Storage, "Composite objects".
"""

from collections.abc import Sequence
from typing import Any

from ckpt_core.storage.objects.gcs_requests import GcsBucket
from ckpt_core.storage.objects.store import UploadedPart

_AT_ONCE = 32
_MARK = "ckpt-upload"
"""Under this name an object's metadata has the upload that it was made by."""

Source = tuple[str, str]
"""Key and generation."""


class Composition:
    """The parts of one upload, whose keys begin with `folder`."""

    def __init__(self, bucket: GcsBucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder

    def made(self, key: str, upload: str, parts: Sequence[UploadedPart], **conditions: str) -> dict[str, Any]:
        """Return what the store says of the object that it made.

        Failures as gcsfs raises them.
        """
        sources = [(f"{self._folder}{part.number:05}", part.tag) for part in parts]
        level = 1
        while len(sources) > _AT_ONCE:
            groups = [sources[at : at + _AT_ONCE] for at in range(0, len(sources), _AT_ONCE)]
            sources = [self._joined(f"{self._folder}level-{level}-{n:05}", group) for n, group in enumerate(groups)]
            level += 1
        return self._bucket.compose(key, _composed(sources, {_MARK: upload}), **conditions)

    def _joined(self, key: str, sources: Sequence[Source]) -> Source:
        made = self._bucket.compose(key, _composed(sources, {}))
        return key, str(made["generation"])


def uploaded_as(found: dict[str, Any]) -> str | None:
    """Return the upload by which an object was made.

    None where it was not, or by another program.
    """
    upload = found.get("metadata", {}).get(_MARK)
    return upload if isinstance(upload, str) else None


def _composed(sources: Sequence[Source], metadata: dict[str, str]) -> dict[str, Any]:
    named = [
        {"name": key, "generation": generation, "objectPreconditions": {"ifGenerationMatch": generation}}
        for key, generation in sources
    ]
    return {
        "sourceObjects": named,
        "destination": {"contentType": "application/octet-stream", "metadata": metadata},
    }

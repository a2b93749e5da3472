"""Files that lie in the very server that they are copied to.

By their keys there the server can copy them itself.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.objects.store import ObjectStore
from ckpt_core.storage.urls import local_path, scheme_of


class Within(NamedTuple):
    """The place of files in a store.

    The bucket, and the key of each by its path.
    """

    store: ObjectStore
    keys: Mapping[str, str]


def keys_within(files: Files, paths: Sequence[str], store: ObjectStore) -> Within | None:
    """Return where files of a listing lie in a store's server.

    None where it is not certain that all are there.

    A generation's files are looked for where they lie.
    """
    url = files.location.url
    if local_path(url) is not None or scheme_of(url) != scheme_of(store.url):
        return None
    own, key = open_store(url)
    if not store.is_beside(own):
        return None
    single = files.location.kind is LocationKind.FILE
    folder = "/".join(filter(None, (key, files.generation))) + "/"
    keys = {path: key if single else folder.removeprefix("/") + path for path in paths}
    sizes = {one.key: one.size for one in own.find(key if single else folder.removeprefix("/"))}
    return Within(own, keys) if all(sizes.get(keys[path]) == files.size(path) for path in paths) else None

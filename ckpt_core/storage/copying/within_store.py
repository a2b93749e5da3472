"""Files that lie in the very store that they are copied to: by which keys, so that the store can copy them itself."""

from collections.abc import Mapping, Sequence

from ckpt_core.schema.access import Files
from ckpt_core.schema.locations import LocationKind
from ckpt_core.storage.objects.open_store import open_store
from ckpt_core.storage.objects.store import ObjectStore
from ckpt_core.storage.urls import local_path, scheme_of


def keys_within(files: Files, paths: Sequence[str], store: ObjectStore) -> Mapping[str, str] | None:
    """The keys of some files of a listing in a store, by path; None where it is not certain that all are in it.

    A generation's files are looked for where they lie.
    """
    url = files.location.url
    if local_path(url) is not None or scheme_of(url) != scheme_of(store.url):
        return None
    own, key = open_store(url)
    if own.url != store.url:
        return None
    single = files.location.kind is LocationKind.FILE
    folder = "/".join(filter(None, (key, files.generation))) + "/"
    keys = {path: key if single else folder.removeprefix("/") + path for path in paths}
    sizes = {one.key: one.size for one in store.find(key if single else folder.removeprefix("/"))}
    return keys if all(sizes.get(keys[path]) == files.size(path) for path in paths) else None

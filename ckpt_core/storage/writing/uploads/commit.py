"""From objects to a checkpoint.

The seal is put last, in one request, under the condition that nobody came before.

Whoever takes a new directory over from us puts a placeholder where the seal goes before it removes anything: then our
own seal, however late it comes, is refused. A generation is never removed by anybody before a seal names another one.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ckpt_core.arguments import argument
from ckpt_core.errors import CheckpointNotFoundError, ConditionFailedError, LockedError, OverwriteError, ReplacedError
from ckpt_core.schema.side_files.reserved_names import BLOCKS, is_under_way
from ckpt_core.schema.side_files.seals import Seal, pack
from ckpt_core.schema.text import printable, redact
from ckpt_core.storage.objects.store import ABSENT, Condition, StoredObject
from ckpt_core.storage.writing.uploads.place import Found, ObjectPlace


@dataclass(frozen=True, slots=True)
class Ready:
    """Objects that are ready to be committed.

    Attributes:
        place: The destination.
        folder: The key of the folder of its data, with a slash behind it.
        versions: Of its objects, by their paths below the folder.
        found: What was at the destination when we began.
        seal_was: The version of what has the seal's name now; None for nothing.
        check: Raises where the lease is lost.
    """

    place: ObjectPlace
    folder: str
    versions: Mapping[str, str]
    found: Found
    seal_was: str | None
    check: Callable[[], None]


def commit_directory(ready: Ready, seal: Seal | None) -> None:
    """Seal a directory.

    Raises:
        LockedError: Another writer has taken over.
        OverwriteError: Another writer was first, or something that is not ours came into the directory.
        UnsupportedFormatError: There is no seal, and a content is there that only a seal can replace.
    """
    place, generation = ready.place, ready.folder.removeprefix(ready.place.root).rstrip("/")
    if seal is None:
        _commit_unsealed(ready, generation)
        return
    text, blocks = pack(replace(seal, id=uuid.uuid4().hex, generation=generation), apart=True)
    ready.check()
    place.store.put(ready.folder + BLOCKS, blocks, ABSENT)
    _refuse_changes(ready)
    ready.check()
    _put_seal(ready, text)


def _commit_unsealed(ready: Ready, generation: str) -> None:
    """Commit a directory without a seal.

    It is a checkpoint as soon as nothing says that it is unfinished.
    """
    if generation:
        raise OverwriteError(
            f"{redact(ready.place.url)}: exists, and without a seal nothing can be put in its place in a store; "
            "choose another place"
        )
    _refuse_changes(ready)
    if ready.seal_was is not None:
        ready.place.store.delete_version(ready.place.seal, ready.seal_was)


def commit_file(ready: Ready, seal: Seal | None) -> None:
    """Give a staged file its name, and seal it.

    The seal names the version of its object.

    Raises:
        LockedError: Another writer has taken over.
        OverwriteError: Another writer was first.
    """
    place = ready.place
    ready.check()
    made = _name_file(ready)
    was = ready.seal_was
    if was is not None and (seal is None or not _names_a_version(ready)):
        place.store.delete([place.seal])  # else it would vouch for another content than its own
        was = None
    if seal is not None:
        text, _ = pack(replace(seal, id=uuid.uuid4().hex, objects={place.name: made.version}), apart=False)
        _put_seal(replace(ready, seal_was=was), text)


def _name_file(ready: Ready) -> StoredObject:
    place, staged = ready.place, ready.folder + ready.place.name
    version, there = ready.versions[place.name], next(iter(ready.found.content), None)
    size = _staged_size(ready)
    try:
        if size <= place.store.part_bytes(size):
            condition = ABSENT if there is None else Condition(version=there.version)
            return place.store.put(place.key, place.store.read(staged, version=version), condition)
        now = place.store.head(place.key)
        if (now and now.version) != (there and there.version):
            raise _came_first(ready)
        return place.store.copy(staged, place.key, version=version)
    except ConditionFailedError:
        raise _came_first(ready) from None
    except (CheckpointNotFoundError, ReplacedError):
        raise _taken_over(ready) from None


def _staged_size(ready: Ready) -> int:
    found = ready.place.store.head(ready.folder + ready.place.name)
    if found is None:
        raise _taken_over(ready)
    return found.size


def _names_a_version(ready: Ready) -> bool:
    try:
        return bool(json.loads(ready.place.store.read(ready.place.seal)).get("objects"))
    except (ValueError, AttributeError, CheckpointNotFoundError):
        return False


def _put_seal(ready: Ready, text: bytes) -> None:
    condition = ABSENT if ready.seal_was is None else Condition(version=ready.seal_was)
    try:
        ready.place.store.put(ready.place.seal, text, condition)
    except ConditionFailedError:
        raise _came_first(ready) from None


def _refuse_changes(ready: Ready) -> None:
    """Refuse objects that changed since they were put.

    In a new directory nothing else may be either.
    """
    store, place = ready.place.store, ready.place
    there = {one.key: one.version for one in store.find(ready.folder)}
    for path, version in ready.versions.items():
        if there.pop(ready.folder + path, None) != version:
            raise _taken_over(ready)
    own = {place.seal, ready.folder + BLOCKS}
    foreign = [
        key for key in there if key not in own and not is_under_way(key.removeprefix(ready.folder).partition("/")[0])
    ]
    if foreign:
        raise OverwriteError(
            f"{redact(place.url)}: {printable(foreign[0])} appeared while it was being written; nothing was committed, "
            "choose another place"
        )


def _taken_over(ready: Ready) -> LockedError:
    return LockedError(
        f"{redact(ready.place.url)}: what was put there is not there any more, since another writer has taken over; "
        "nothing was committed, run it again"
    )


def _came_first(ready: Ready) -> OverwriteError:
    return OverwriteError(
        f"{redact(ready.place.url)}: another writer was first; look at what is there, or "
        f"{argument('force', True)} to replace it"
    )

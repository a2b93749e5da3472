"""`ObjectStore`: the needs of a writer.

The store has objects, and neither folders nor renaming nor locks.

An object is visible whole or not at all: from its put, or the completion of its upload, on. A condition is the only
thing by which two writers can be told apart. An answer that says that it failed may speak of our own first try, whose
answer was lost, so that `put` reads back what is there before it says so.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as its store describes it.

    Attributes:
        key: Its name in the bucket.
        size: In bytes.
        version: What a condition can name this content and no other by: an ETag, a generation.
        modified: When it was put, in seconds since 1970, by the store's clock; right after a put, to some seconds.
    """

    key: str
    size: int
    version: str
    modified: float


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a put.

    Always, only where nothing has the key, or only in place of a known version.
    """

    absent: bool = False
    version: str | None = None


ALWAYS = Condition()
ABSENT = Condition(absent=True)


class UploadedPart(NamedTuple):
    """A part of an upload that its store has.

    It has its number, from 1, its bytes, and its name in a completion.
    """

    number: int
    size: int
    tag: str


class Upload(NamedTuple):
    """An upload that was begun and is neither complete nor aborted.

    `started` is as `StoredObject.modified`.
    """

    key: str
    id: str
    started: float


class ObjectStore(ABC):
    """One bucket, or what is like one.

    Keys are relative to it. Any thread may call any method.

    Every method is asked again where that may help, within `knobs.remote_timeout()`, which bytes to come prolong.

    Raises:
        NoAnswerError: The store failed, was silent, or denied access; the message tells which.
        CheckpointNotFoundError: The bucket is not there; or, where a method says so, the object.
        ConditionFailedError: As the condition of a put says.

    Attributes:
        url: Of the bucket, as in `s3://bucket`; what a message names an object by is this, `/` and its key.
    """

    url: str

    @abstractmethod
    def head(self, key: str) -> StoredObject | None:
        """The object of a key; None where there is none."""

    @abstractmethod
    def find(self, prefix: str) -> Iterator[StoredObject]:
        """Yield every object whose key begins so.

        A page at a time, in the store's order.
        """

    @abstractmethod
    def read(self, key: str, *, version: str | None = None) -> bytes:
        """Return all of a small object.

        CheckpointNotFoundError where there is none, ReplacedError where not this version.
        """

    @abstractmethod
    def put(self, key: str, data: bytes | memoryview, condition: Condition = ALWAYS) -> StoredObject:
        """Put an object in a single request.

        Its bytes are proved by a checksum that the store compares.

        Where the store says that the condition failed and what is there is byte for byte `data`, a first try has
        succeeded whose answer was lost: that is success.
        """

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; none there is well too.

        Of a versioned bucket the older versions stay.
        """

    @abstractmethod
    def delete_version(self, key: str, version: str) -> bool:
        """Delete an object if it is still this version: whether it was."""

    @abstractmethod
    def part_bytes(self, size: int) -> int:
        """Return the bytes of each part of an object so long.

        All but the last have as many: a multiple of 1 MiB that fits the store's limits.
        """

    @abstractmethod
    def begin_upload(self, key: str) -> str:
        """Begin an upload; its id."""

    @abstractmethod
    def put_part(self, key: str, upload: str, number: int, data: bytes | memoryview) -> UploadedPart:
        """Put a part, and replace one that is there.

        Its bytes are proved by a checksum that the store compares.
        """

    @abstractmethod
    def parts(self, key: str, upload: str) -> list[UploadedPart]:
        """Return the parts that the store has of an upload, by number.

        None where it does not know the upload.

        Of a part that was put twice, one that is not told apart from the other is left out: put it again.
        """

    @abstractmethod
    def complete(
        self, key: str, upload: str, parts: Iterable[UploadedPart], condition: Condition = ALWAYS
    ) -> StoredObject:
        """Make the object of its parts, visible at once and whole.

        Not every store keeps to the condition here: nothing may depend on it. A completion whose first answer was lost
        is recognised by its object.
        """

    @abstractmethod
    def abort(self, key: str, upload: str) -> None:
        """Give an upload up, with all of its parts.

        One that is not there is well too.
        """

    @abstractmethod
    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Uploads under way, whoever began them, of keys that begin so."""

    @abstractmethod
    def copy(
        self, source: str, key: str, *, version: str | None = None, of: "ObjectStore | None" = None
    ) -> StoredObject:
        """Copy an object within the server, of any size.

        Visible at once and whole.

        Args:
            source: Key of the object.
            key: Of the copy; what has it now is replaced.
            version: Which content; ReplacedError where it is another by now.
            of: The bucket that the object is in, one that is `beside` this; None for this one.
        """

    def is_beside(self, other: "ObjectStore") -> bool:
        """Return whether this server can read another bucket.

        It is this one, or one that the server reads itself for whoever we are.
        """
        return self.url == other.url

    @abstractmethod
    def now(self) -> float:
        """Return the seconds since 1970 by the store's clock.

        `modified` and `started` are measured by it.
        """

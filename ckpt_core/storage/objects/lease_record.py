"""The record in a lease.

Who writes, for how long without a sign of it, and what a kill would leave behind.

JSON of the schema `ckpt/lease@1`. That a process of this machine is gone is told by its boot, its process namespace,
its id and when it started: a name of a machine alone is that of many containers.
"""

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ckpt_core.errors import OverwriteError
from ckpt_core.schema.text import printable

SCHEMA = "ckpt/lease@1"
_START = 19
"""Place of a process's start, in ticks since the boot, behind its name in /proc/PID/stat. Source: proc(5)."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lease.

    Others of its machine can find it by this, and people on other machines.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    start: str

    @property
    def is_local(self) -> bool:
        """Return whether this machine can look for its process by id."""
        here = this_process()
        return bool(self.boot) and (self.boot, self.namespace) == (here.boot, here.namespace)

    @property
    def is_gone(self) -> bool:
        """Return whether it certainly does not run any more."""
        if not self.is_local:
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            pass
        start = _start_of(self.pid)
        return bool(start and self.start) and start != self.start


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The content of a lease.

    Attributes:
        id: Of this holding of it, unique.
        started: When it was taken, by the store's clock; or by the first of those that were taken over from.
        seconds: Without renewal after which it may be taken over.
        renewals: How often it was renewed: no two contents of it are the same.
        ended: Whether the holder has given it up, and left work to go on from.
        work: Digest of what is being written; of the same work a rerun goes on.
        keys: Of the objects that the holder makes; what ends in `/` is how theirs begin.
        uploads: Key and id of each upload that it has begun.
    """

    id: str
    holder: Holder
    started: float
    seconds: int
    renewals: int = 0
    ended: bool = False
    work: str = ""
    keys: tuple[str, ...] = ()
    uploads: tuple[tuple[str, str], ...] = field(default=())

    def encoded(self) -> bytes:
        return json.dumps({"schema": SCHEMA, **asdict(self)}).encode()


def new_record(started: float, seconds: int, work: str, keys: tuple[str, ...]) -> LeaseRecord:
    return LeaseRecord(uuid.uuid4().hex, this_process(), started, seconds, work=work, keys=keys)


def parse_record(data: bytes, place: str) -> LeaseRecord:
    """The content of a lease.

    Raises:
        OverwriteError: It is no lease that this version knows.
    """
    try:
        tree = json.loads(data)
        if tree.pop("schema") != SCHEMA:
            raise ValueError
        return _record(tree)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OverwriteError(
            f"{printable(place)}: has the name of a lease and is none that this version of ckpt reads; "
            "look who wrote it, or take another place"
        ) from None


def _record(tree: dict[str, Any]) -> LeaseRecord:
    names = {one.name for one in fields(LeaseRecord)}
    values = {name: value for name, value in tree.items() if name in names}
    values["holder"] = Holder(**{one.name: _typed(tree["holder"][one.name], one.type) for one in fields(Holder)})
    values["keys"] = tuple(_typed(key, str) for key in tree["keys"])
    values["uploads"] = tuple((_typed(key, str), _typed(upload, str)) for key, upload in tree["uploads"])
    values |= {"started": float(tree["started"]), "seconds": int(tree["seconds"]), "work": _typed(tree["work"], str)}
    return LeaseRecord(**values)


def _typed(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def this_process() -> Holder:
    return Holder(socket.gethostname(), _boot(), _namespace(), os.getpid(), _start_of(os.getpid()))


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""  # not to be told: nobody here is ever found gone


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """Return the start of a process, in ticks since the boot.

    Empty where that cannot be seen.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[_START].decode()
    except (OSError, IndexError):
        return ""

"""A disk that loses power: which writes and names outlast it, by what was synced before.

A file's bytes outlast once the file was synced, a name (created, renamed, removed) once a folder it is in was. A rename
is one step, as every journaling filesystem has it. Of what was not synced, anything may or may not be there.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

Bytes = Literal["lost", "kept", "zeros"]


class Step(NamedTuple):
    """One call of a recorded run: its name, paths it was about, and what it was given."""

    name: str
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""


class Recorder:
    """Notes every call that changes a file, in order; descriptors become paths by what they were opened as."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, name: str, call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        step = self._step(name, args, kwargs)
        existed = name == "open" and os.path.lexists(step.path)
        result = call(*args, **kwargs)
        if not existed and not (name == "renameat2" and result):
            self.steps.append(step)
        return result

    @staticmethod
    def _step(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step:
        first = os.readlink(f"/proc/self/fd/{args[0]}") if isinstance(args[0], int) else str(args[0])
        if kwargs.get("dir_fd") is not None:
            first = os.path.join(os.readlink(f"/proc/self/fd/{kwargs['dir_fd']}"), first)
        match name:
            case "pwrite":
                return Step(name, first, offset=args[2], data=bytes(args[1]))
            case "posix_fallocate":
                return Step(name, first, offset=args[2])
            case "ftruncate":
                return Step(name, first, offset=args[1])
            case "rename":
                return Step(name, first, str(args[1]))
            case "renameat2":
                return Step("exchange" if args[2] == 2 else "rename", first, str(args[1]))
        assert name in ("open", "mkdir", "unlink", "rmdir", "fsync", "fdatasync"), name
        return Step(name, first)


@dataclass(eq=False)
class File:
    now: bytearray = field(default_factory=bytearray)
    safe: bytes = b""


@dataclass(eq=False)
class Folder:
    names: "dict[str, File | Folder]" = field(default_factory=dict)


class Naming(NamedTuple):
    """A change of names: the folders it is about, and in each the name and what it stands for then (None: nothing)."""

    changes: tuple[tuple[Folder, str, File | Folder | None], ...]


class Disk:
    """A disk that held `root` safely, and the steps that were done on it since."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._now = _read(root)
        self._safe = {folder: dict(folder.names) for folder in _folders(self._now)}
        self._pending: list[Naming] = []

    def do(self, step: Step) -> None:
        match step.name:
            case "open":
                self._name((*self._place(step.path), File()))
            case "mkdir":
                made = Folder()
                self._safe[made] = {}
                self._name((*self._place(step.path), made))
            case "unlink" | "rmdir":
                self._name((*self._place(step.path), None))
            case "rename":
                found = self._at(step.path)
                self._name((*self._place(step.path), None), (*self._place(step.other), found))
            case "exchange":
                first, second = self._at(step.path), self._at(step.other)
                self._name((*self._place(step.path), second), (*self._place(step.other), first))
            case "pwrite":
                file = self._at(step.path)
                self._resize(file, max(len(file.now), step.offset + len(step.data)))
                file.now[step.offset : step.offset + len(step.data)] = step.data
            case "posix_fallocate":
                self._resize(self._at(step.path), max(len(self._at(step.path).now), step.offset))
            case "ftruncate":
                self._resize(self._at(step.path), step.offset)
            case "fsync" | "fdatasync":
                self._sync(self._at(step.path))

    def after_power_loss(self) -> "Iterator[tuple[str, dict[str, bytes | None]]]":
        """States the disk may be in, each with what was lost; files by path, None for a folder."""
        everything = range(len(self._pending))
        yield "all that was not synced", self._state((), "lost")
        yield "names", self._state((), "kept")
        yield "bytes", self._state(everything, "lost")
        yield "bytes, as zeros", self._state(everything, "zeros")
        for number in everything:
            yield f"all but name {number}", self._state((number,), "lost")
            yield f"name {number}", self._state([n for n in everything if n != number], "kept")

    def _state(self, kept: "Any", data: Bytes) -> dict[str, bytes | None]:
        names = {folder: dict(found) for folder, found in self._safe.items()}
        for number in kept:
            _apply(self._pending[number], names)
        return dict(_walk(self._now, names, "", data))

    def _name(self, *changes: "tuple[Folder, str, File | Folder | None]") -> None:
        naming = Naming(changes)
        for folder, name, what in changes:
            _change(folder.names, name, what)
        self._pending.append(naming)

    def _sync(self, what: "File | Folder") -> None:
        if isinstance(what, File):
            what.safe = bytes(what.now)
            return
        for naming in [n for n in self._pending if any(folder is what for folder, _, _ in n.changes)]:
            _apply(naming, self._safe)
            self._pending.remove(naming)

    def _place(self, path: str) -> tuple[Folder, str]:
        above, name = os.path.split(path)
        return self._at(above), name

    def _at(self, path: str) -> Any:
        found: Any = self._now
        for part in Path(path).relative_to(self._root).parts:
            found = found.names[part]
        return found

    @staticmethod
    def _resize(file: File, size: int) -> None:
        del file.now[size:]
        file.now.extend(bytes(size - len(file.now)))


def build(state: "dict[str, bytes | None]", root: Path) -> None:
    """Make a state real in a new folder."""
    root.mkdir(parents=True)
    for path, data in sorted(state.items()):
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)


def _apply(naming: Naming, names: "dict[Folder, dict[str, File | Folder]]") -> None:
    for folder, name, what in naming.changes:
        _change(names[folder], name, what)


def _change(names: "dict[str, File | Folder]", name: str, what: "File | Folder | None") -> None:
    if what is None:
        names.pop(name, None)
    else:
        names[name] = what


def _read(path: Path) -> Folder:
    found = Folder()
    for item in path.iterdir():
        if item.is_dir():
            found.names[item.name] = _read(item)
        else:
            data = item.read_bytes()
            found.names[item.name] = File(bytearray(data), data)
    return found


def _folders(folder: Folder) -> Iterator[Folder]:
    yield folder
    for inner in folder.names.values():
        if isinstance(inner, Folder):
            yield from _folders(inner)


def _walk(
    folder: Folder, names: "dict[Folder, dict[str, File | Folder]]", path: str, data: Bytes
) -> "Iterator[tuple[str, bytes | None]]":
    for name, what in names[folder].items():
        if isinstance(what, Folder):
            yield path + name, None
            yield from _walk(what, names, f"{path}{name}/", data)
        elif data == "kept":
            yield path + name, bytes(what.now)
        elif data == "zeros":
            yield path + name, what.safe if len(what.safe) == len(what.now) else bytes(len(what.now))
        else:
            yield path + name, what.safe

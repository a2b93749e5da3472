"""The builder of a checkpoint from a directory's files.

The directory keeps each component in a file of its own; each is opened by itself and added. One that cannot be read
does not hide the others: it is a finding and an unreadable role. Unsafe content is raised.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ckpt_core.codecs.foreign.impostors import impostor
from ckpt_core.codecs.torch.file import TorchFile
from ckpt_core.codecs.torch.reader import read_torch_file
from ckpt_core.errors import CkptError, CorruptError, UnreachableError, UnsafeContentError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.access import Files
from ckpt_core.schema.byte_consumers import Checksum
from ckpt_core.schema.evidence import emptiness
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.formats import FormatMatch
from ckpt_core.schema.manifests import Asset, Component, Manifest, in_order
from ckpt_core.schema.roles import Presence, Profile, Role
from ckpt_core.schema.state import State
from ckpt_core.schema.tensors import TensorTable
from ckpt_core.schema.text import printable

T = TypeVar("T")

NO_TENSORS: TensorTable = TensorTable.of({})

MAX_JSON = 64 << 20
"""Bytes of a JSON file that are read: the log of a run of a million steps has about thirty million."""


class CheckpointBuilder:
    """The pieces of a directory that were opened so far.

    Each method adds one piece; `checkpoint` joins them.

    Attributes:
        components: As they were added.
        roles: Where each is kept, and what is absent or unreadable.
        findings: What was noticed.
        torch_files: Every torch file that was opened, for its checksums.
    """

    def __init__(self, files: Files) -> None:
        self.files = files
        self.components: list[Component] = []
        self.roles: list[Role] = []
        self.findings: list[Finding] = []
        self.torch_files: list[TorchFile] = []

    def add(self, component: Component, where: str = "", note: str = "") -> None:
        """Add a component that was read elsewhere.

        One that is empty counts as absent, whatever file it has.
        """
        self.components.append(component)
        empty = emptiness(component)
        presence = Presence.ABSENT if empty else Presence.PRESENT
        self.role(component.kind, presence, where, empty or note, name=component.name)

    def role(
        self,
        kind: str,
        presence: Presence,
        where: str = "",
        note: str = "",
        *,
        name: str = "",
        needed_for: Profile | None = None,
    ) -> None:
        """Note a component's presence, where its content doesn't show it.

        A component whose file was left out of the listing is unreadable, not absent.
        """
        left_out = self.files.left_out(where) if presence is Presence.ABSENT else None
        if left_out is not None:
            presence, note = Presence.UNREADABLE, note or left_out
        self.roles.append(Role(kind, presence, where, note, name, needed_for))

    def torch(self, path: str) -> TorchFile | None:
        """Open a torch file of the directory; None where it is missing.

        Errors are raised; `tried` turns them into findings.
        """
        if not self._has(path):
            return None
        file = read_torch_file(self.files, path)
        self.torch_files.append(file)
        self.findings.extend(file.findings)
        return file

    def torch_component(
        self, kind: str, path: str, *, name: str = "", optional: bool = False, needed_for: Profile | None = None
    ) -> State:
        """Add a component that is the whole content of a torch file.

        Args:
            kind: Kind of the component.
            path: The file.
            name: Name of the component.
            optional: Say nothing where the file is missing.
            needed_for: The least profile that needs it; None for what its kind says.

        Returns:
            Its state; None where it could not be had.
        """

        def read() -> State:
            file = self.torch(path)
            if file is None:
                if not optional:
                    self.role(kind, Presence.ABSENT, path, name=name, needed_for=needed_for)
                return None
            self.add(Component(kind, file.tensors, file.root, name), path)
            return file.root

        return self.tried(kind, path, read, name=name, needed_for=needed_for)

    def json_component(self, kind: str, path: str, *, name: str = "", optional: bool = False) -> dict[str, Any] | None:
        """Add a component that is a JSON object in a file.

        Returns the object; None where it could not be had.
        """

        def read() -> dict[str, Any] | None:
            if not self._has(path):
                if not optional:
                    self.role(kind, Presence.ABSENT, path, name=name)
                return None
            content = read_json(self.files, path)
            self.add(Component(kind, NO_TENSORS, content, name), path)
            return content

        return self.tried(kind, path, read, name=name)

    def tried(
        self,
        kind: str,
        path: str,
        read: Callable[[], T],
        *,
        name: str = "",
        needed_for: Profile | None = None,
    ) -> T | None:
        """Return the result of `read`; turn its failure into a finding.

        Where it fails, the role is unreadable and the result None.

        Raises:
            UnsafeContentError: The piece asks to run code.
            UnreachableError: The place does not answer: nothing is known then.
        """
        try:
            return read()
        except (UnsafeContentError, UnreachableError):
            raise
        except CkptError as error:
            error.path = error.path or path
            self.findings.append(Finding.of_error(self._impostor(path) or error))
            self.role(kind, Presence.UNREADABLE, path, name=name, needed_for=needed_for)
            return None

    def _has(self, path: str) -> bool:
        """Return True if a file is listed.

        CorruptError (CK005) where it exists and was left out of the listing: that is not absent.
        """
        left_out = self.files.left_out(path)
        if left_out is not None:
            raise CorruptError(f"{printable(path)}: {left_out}", code="CK005", path=path)
        return path in self.files.entries

    def _impostor(self, path: str) -> CkptError | None:
        """Return an error that names an unreadable file's real kind.

        None where the kind is not known, or there is no such file.
        """
        if path not in self.files.entries:
            return None
        return impostor(path, self.files.head(path), self.files.size(path))

    def confirm(self) -> None:
        """Prove that the tensors of torch files lie where expected."""
        for file in self.torch_files:
            file.confirm()

    def checksums(self) -> list[Checksum]:
        """Return the checksums of every torch file."""
        return [checksum for file in self.torch_files for checksum in file.checksums()]

    def checkpoint(
        self,
        match: FormatMatch,
        *,
        step: int | None = None,
        assets: Sequence[Asset] = (),
        metadata: dict[str, Any] | None = None,
    ) -> StoredCheckpoint:
        """Join all pieces into one checkpoint.

        `step` is the step that its own content records.
        """
        manifest = Manifest(
            in_order(self.components),
            assets=tuple(assets),
            metadata=metadata or {},
            findings=tuple(self.findings),
            roles=tuple(self.roles),
            step=step,
        )
        checkpoint = StoredCheckpoint(self.files, match, manifest, confirm=self.confirm)
        checkpoint.checksums = self.checksums
        return checkpoint


def read_json(files: Files, path: str) -> dict[str, Any]:
    """Read a JSON object of a listing.

    Raises:
        CorruptError: It is no JSON object, or too large to be one that a trainer wrote (CK018).
    """
    content = read_json_value(files, path)
    if not isinstance(content, dict):
        raise _not_json(path, "not a JSON object")
    return content


def read_json_value(files: Files, path: str) -> Any:
    """Read a JSON value of a listing; raises as `read_json`."""
    size = files.size(path)
    if size > MAX_JSON:
        raise _not_json(path, f"{size} bytes are too many for a trainer's JSON")
    try:
        return json.loads(files.read(path).decode("utf-8"))  # with NaN, which a trainer's log may hold
    except (ValueError, RecursionError) as error:
        raise _not_json(path, f"not JSON ({type(error).__name__})") from error


def _not_json(path: str, reason: str) -> CorruptError:
    return CorruptError(f"{printable(path)}: {reason}; copy it again", code="CK018", path=path)

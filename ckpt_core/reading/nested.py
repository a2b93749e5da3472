"""Joins a checkpoint with its nested parts.

The result is one manifest over one listing, whichever formats the parts are of. Every path that a part names starts at
the part's own root; here it starts at the root of the whole.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from ckpt_core.arguments import marked, message
from ckpt_core.errors import CkptError
from ckpt_core.reading.boxes import FindChunk
from ckpt_core.reading.checkpoints import OpenPart, StoredCheckpoint
from ckpt_core.schema.byte_consumers import Checksum, Sum
from ckpt_core.schema.findings import Finding
from ckpt_core.schema.formats import Part
from ckpt_core.schema.manifests import Asset, Component, Manifest, in_order
from ckpt_core.schema.roles import Presence, Role
from ckpt_core.schema.tensors import Chunk, under
from ckpt_core.schema.text import printable

Stored = TypeVar("Stored", bound=StoredCheckpoint)
Error = TypeVar("Error", bound=CkptError)


@dataclass(frozen=True, slots=True)
class UnopenedPart:
    """A part that could not be opened, with the error.

    The error says where in the whole the part is.
    """

    part: Part
    error: CkptError


def joined(own: Stored, parts: Sequence[OpenPart], unopened: Sequence[UnopenedPart] = ()) -> Stored:
    """Return the outer checkpoint with its parts' components.

    The component of a part that its claim is about gets the label that the claim says; the others keep their kind. The
    metadata of a part stands under its root.

    Args:
        own: The outer checkpoint; it is not changed.
        parts: Its parts, opened.
        unopened: Parts that could not be: each is an ERROR finding, and its component is unreadable, not absent.
    """
    whole = copy(own)
    whole.parts = tuple(parts)
    whole.manifest = _manifest(own.manifest, parts, unopened)
    whole.replace_chunk_lookup(_confirm_each(own, parts), _find_where_stored(own, parts))
    whole.checksums = lambda: _checksums_of_each(own, parts)
    return whole


def _manifest(own: Manifest, parts: Sequence[OpenPart], unopened: Sequence[UnopenedPart]) -> Manifest:
    components = list(own.components)
    assets, findings, roles = list(own.assets), list(own.findings), list(own.roles)
    metadata, provenance = dict(own.metadata), dict(own.provenance)
    steps = [own.step]
    tainted = dict(own.tainted)
    for opened in parts:
        root, base, inner = opened.part.root, opened.base, opened.checkpoint.manifest
        components += _relabelled(opened, {component.label for component in components})
        assets += [Asset(under(base, asset.path), asset.size) for asset in inner.assets]
        findings += [in_whole(finding, opened) for finding in inner.findings]
        roles += [_role_in_whole(role, opened) for role in inner.roles]
        metadata.update({root: inner.metadata} if inner.metadata else {})
        provenance.update({root: inner.provenance} if inner.provenance else {})
        steps.append(inner.step)
        tainted.update({_key_in_whole(key, opened): cause for key, cause in inner.tainted.items()})
    findings += [_finding(missing) for missing in unopened]
    roles += [_unreadable(missing) for missing in unopened]
    step = next((step for step in steps if step is not None), None)
    return Manifest(
        in_order(components),
        tuple(assets),
        metadata,
        provenance,
        tuple(findings),
        tuple(roles),
        step,
        tainted=tainted,
    )


def _key_in_whole(key: str, opened: OpenPart) -> str:
    """Return the key of a part's taint in the whole.

    All of a part is all of its component.
    """
    label, slash, name = key.partition("/")
    return f"{_label_in_whole(label, opened)}/{name}" if slash else f"{opened.part.component or 'model'}/*"


def _relabelled(opened: OpenPart, taken: set[str]) -> list[Component]:
    """Return a part's components under their labels in the whole.

    None has one of `taken`.
    """
    kind, _, name = opened.part.component.partition(":")
    components = opened.checkpoint.manifest.components
    main = _main(components, kind) if kind else None
    relabelled = []
    for component in components:
        named = replace(component, tensors=component.tensors.within(opened.base))
        if component is main:
            named = replace(named, kind=kind, name=name)
        elif name:
            named = replace(named, name=":".join(filter(None, (name, component.name))))
        if named.label in taken:
            named = replace(named, name=":".join(filter(None, (opened.part.root, component.name))))
        taken.add(named.label)
        relabelled.append(named)
    return relabelled


def _main(components: Sequence[Component], kind: str) -> Component | None:
    """Return the component that a claim is about.

    It is the first of its kind, else the only one, or the only one with tensors.
    """
    same_kind = [component for component in components if component.kind == kind]
    with_tensors = [component for component in components if len(component.tensors)]
    choices = (same_kind[:1], list(components), with_tensors)
    return next((choice[0] for choice in choices if len(choice) == 1), None)


def in_whole(finding: Finding, opened: OpenPart) -> Finding:
    """Return a part's finding as the whole has it.

    It says where the part is, and names the component as the whole does.
    """
    if finding.component is None:
        return relocated(finding, opened.base)
    return replace(relocated(finding, opened.base), component=_label_in_whole(finding.component, opened))


def _role_in_whole(role: Role, opened: OpenPart) -> Role:
    kind, _, name = _label_in_whole(role.label, opened).partition(":")
    return replace(role, kind=kind, name=name, where=under(opened.base, role.where))


def _label_in_whole(label: str, opened: OpenPart) -> str:
    """Return the label in the whole of a part's component.

    A component of which nothing is left has one, too.
    """
    kind, _, name = opened.part.component.partition(":")
    main = _main(opened.checkpoint.manifest.components, kind) if kind else None
    if label == (main.label if main is not None else kind):
        return opened.part.component
    own_kind, _, own = label.partition(":")
    return ":".join(filter(None, (own_kind, name, own)))


def relocated(finding: Finding, base: str) -> Finding:
    """Return a part's finding with paths in the whole.

    Its path, and the start of its message, say where the part is.
    """
    if not base:
        return finding
    message = _relocated_message(marked(finding.message), finding.path, base)
    return replace(finding, message=message, path=base if finding.path is None else under(base, finding.path))


def relocate(error: Error, base: str) -> Error:
    """Return a part's error with paths in the whole."""
    if not base:
        return error
    moved = copy(error)
    moved.message = message(_relocated_message(marked(error.message), error.path, base))
    moved.args = (moved.message,)
    moved.path = base if error.path is None else under(base, error.path)
    return moved


def _relocated_message(message: str, path: str | None, base: str) -> str:
    starts_with_path = path is not None and message.startswith(printable(path))
    return f"{printable(base)}{'/' if starts_with_path else ': '}{message}"


def _finding(missing: UnopenedPart) -> Finding:
    finding = Finding.of_error(missing.error)
    return finding if missing.error.code else replace(finding, code="CK019")


def _unreadable(missing: UnopenedPart) -> Role:
    kind, _, name = missing.part.component.partition(":")
    return Role(kind or "model", Presence.UNREADABLE, missing.part.root, missing.error.message, name)


def _confirm_each(own: StoredCheckpoint, parts: Sequence[OpenPart]) -> Callable[[], None]:
    def confirm() -> None:
        own.confirm()
        for opened in parts:
            try:
                opened.checkpoint.confirm()
            except CkptError as error:
                raise relocate(error, opened.base) from error

    return confirm


def _checksums_of_each(own: StoredCheckpoint, parts: Sequence[OpenPart]) -> Iterator[Checksum]:
    if own.checksums is not None:
        yield from own.checksums()
    for opened in parts:
        if opened.checkpoint.checksums is not None:
            yield from (_Below(checksum, opened.base) for checksum in opened.checkpoint.checksums())


class _Below:
    """A checksum of a part's file, as the whole knows it."""

    def __init__(self, inner: Checksum, base: str) -> None:
        self._inner, self._base = inner, base
        self.path, self.start, self.end = under(base, inner.path), inner.start, inner.end
        self.see = inner.see

    def fail(self, error: CkptError) -> None:
        self._inner.fail(error)

    def findings(self) -> Iterator[Finding]:
        return (relocated(finding, self._base) for finding in self._inner.findings())

    def sums(self) -> Iterator[Sum]:
        for one in self._inner.sums():
            yield one._replace(path=under(self._base, one.path), damage=partial(self._damage, one))

    def _damage(self, wrong: Sum) -> Finding:
        return relocated(wrong.damage(), self._base)


def _find_where_stored(own: StoredCheckpoint, parts: Sequence[OpenPart]) -> FindChunk:
    deepest_first = sorted(parts, key=lambda opened: -len(opened.base))

    def find_chunk(chunk: Chunk) -> Chunk:
        for opened in deepest_first:
            if not _is_below(chunk, opened.base):
                continue
            try:
                exact = opened.checkpoint.find_chunk(_as_below(chunk, opened.base)).within(opened.base)
            except CkptError as error:
                raise relocate(error, opened.base) from error
            if exact.encoding.name == "raw":
                return exact
        return own.find_chunk(chunk)

    return find_chunk


def _is_below(chunk: Chunk, base: str) -> bool:
    return not base or (chunk.stored is not None and chunk.stored.path.startswith(f"{base}/"))


def _as_below(chunk: Chunk, base: str) -> Chunk:
    """Return the chunk as the listing of a part names it."""
    if not base or chunk.stored is None:
        return chunk
    path = chunk.stored.path.removeprefix(f"{base}/")
    return replace(chunk, stored=replace(chunk.stored, path=path))

"""Opens a distributed checkpoint.

Its metadata is a table, its small items are state, split into components.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ckpt_core import (
    Asset,
    BudgetError,
    ByteRange,
    Component,
    CorruptError,
    Files,
    Finding,
    FormatMatch,
    LoadRequest,
    Manifest,
    Severity,
    State,
    StoredCheckpoint,
    TensorRef,
    argument,
    knobs,
    printable,
    with_names,
)
from ckpt_core.codecs import chunk_finder
from ckpt_core.layouts import CheckpointBuilder, keyed_components
from ckpt_fsdp.dcp.detection import METADATA, SUFFIX, DirectoryContent, survey
from ckpt_fsdp.dcp.items import Items, read_items
from ckpt_fsdp.dcp.joining import Joined, join
from ckpt_fsdp.dcp.metadata import DcpMetadata, StoredItem, parse_metadata
from ckpt_fsdp.dcp.missing_items import Lost, findings_of, is_there, owners, without_lost
from ckpt_fsdp.dcp.nesting import nest, paths_of
from ckpt_fsdp.dcp.tables import DcpTable

KEYS = "dcp_keys"
"""In a manifest's provenance: the keys that lead to each component, by label."""

_ROOM = 4
"""A `.metadata` may be so many times as large as another pickle: nearly all of it is read without making objects."""

_MOST_COMPARED = 1 << 20
_MOST_SHOWN = 4


class Opened(NamedTuple):
    """A distributed checkpoint that is open.

    Attributes:
        components: Its parts; the paths of their chunks are relative to the listing.
        findings: What was noticed on the way.
        metadata: What the metadata says of itself: `dcp_version`, `save_id`.
        root: Its directory in the listing; "" is the listing itself.
        files: The `.distcp` files that it names, relative to the listing.
        keys: What leads to each component in the saved object, by label, where that is not the label alone.
        replicated: Whether several ranks may have stored the same elements: each wrote a metadata file of its own.
    """

    components: tuple[Component, ...]
    findings: tuple[Finding, ...]
    metadata: Mapping[str, Any]
    root: str
    files: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]
    replicated: bool = False


class DcpCheckpoint(StoredCheckpoint):
    """A distributed checkpoint, with what opened it.

    `beside` has the torch files that lie beside it.
    """

    def __init__(
        self,
        files: Files,
        match: FormatMatch,
        manifest: Manifest,
        opened: Opened,
        beside: CheckpointBuilder | None = None,
    ) -> None:
        confirm = beside.confirm if beside is not None else None
        super().__init__(files, match, manifest, confirm=confirm, find_chunk=chunk_finder(files))
        if beside is not None:
            self.checksums = beside.checksums
        self.opened = opened


def read(files: Files, match: FormatMatch, request: LoadRequest) -> DcpCheckpoint:
    """Open the listed directory itself; raises as `open_at`."""
    opened = open_at(files, "")
    manifest = Manifest(
        opened.components,
        assets=tuple(Asset(path, entry.size) for path, entry in files.entries.items() if _is_asset(path)),
        metadata=opened.metadata,
        provenance={KEYS: dict(opened.keys)} if opened.keys else {},
        findings=opened.findings,
    )
    return DcpCheckpoint(files, match, manifest, opened)


def open_at(files: Files, root: str) -> Opened:
    """Open the distributed checkpoint in a directory of a listing.

    No tensor is read.

    Raises:
        CorruptError: DC001, its metadata is not there or was not finished; DC002, it breaks a rule.
        UnsafeContentError: PK003 or DC003, it would run code or leads out of its directory.
        UnsupportedFormatError: DC004 to DC006 or PK006, something in it is not known.
        BudgetError: PK002, it is larger than is allowed.
    """
    content = survey(files).get(root, DirectoryContent())
    joined = join([_parsed(files, path) for path in _metadata_files(files, root, content)])
    whole, prefix = joined.whole, f"{root}/" if root else ""
    named_at = {name: _place(prefix, item) for name, item in whole.items.items() if item is not None}
    stored = {name: place for name, place in named_at.items() if is_there(files, place)}
    lost = {name: place for name, place in named_at.items() if name not in stored}
    items = read_items(files, stored)
    noticed = (*_left_out(content), *items.findings, *_nowhere(whole), *_differing(files, prefix, joined, stored))
    items.values |= {name: Lost(name) for name in lost}
    named = tuple(prefix + path for path in whole.files)
    components, keys = _components(root, whole, items)
    findings = (*noticed, *findings_of(files, lost, owners(components)))
    if lost:
        components = tuple(filter(_has_content, map(without_lost, components)))
    return Opened(components, findings, whole.facts, root, named, keys, len(content.metadata) > 1)


def _metadata_files(files: Files, root: str, content: DirectoryContent) -> list[str]:
    if content.metadata:
        return content.metadata
    where = printable(root or str(files.location))
    holds = f"{len(content.shards)} .distcp files and no .metadata"
    if content.unfinished:
        reason = f"{holds}, only {printable(content.unfinished[0].rpartition('/')[2])}: the save did not end"
        hint = "use an earlier checkpoint"
    else:
        reason = f"{holds}, without which nobody knows what they hold"
        hint = ".metadata is a dot-file, which copies with * leave behind: copy it from where the checkpoint was made"
    raise CorruptError(f"{where}: {reason}; {hint}", code="DC001", path=f"{root}/{METADATA}".lstrip("/"), hint=hint)


def _parsed(files: Files, path: str) -> DcpMetadata:
    size, most = files.size(path), _ROOM * knobs.header_limit()
    if size > most:
        raise BudgetError(
            f"{printable(path)}: {size} bytes are more than a metadata may have ({most}); "
            "raise CKPT_HEADER_LIMIT if you trust it",
            code="PK002",
            path=path,
        )
    return parse_metadata(files.read(path), path=path)


def _components(
    root: str, whole: DcpMetadata, items: Items
) -> tuple[tuple[Component, ...], dict[str, tuple[str, ...]]]:
    """Return the components, and the keys that lead to each.

    A component that stands under its label has no keys here.
    """
    table = DcpTable(root).of(whole.tensors, items.tensors)
    leaves: dict[str, State] = {name: TensorRef(name) for name in whole.tensors}
    leaves.update(items.values)
    paths, wrapper = paths_of(leaves, whole.planner_data)
    if wrapper:
        names = {name: name.removeprefix(wrapper) for name in table}
        table = table.renamed(names)
        leaves = {name: with_names(value, names) for name, value in leaves.items()}
    tree = nest(leaves, paths, numbered=whole.numbered, empty=whole.empty)
    above = tuple(wrapper.split(".")[:-1])
    keyed = [((*above, *keys), component) for keys, component in keyed_components(tree, table)]
    apart = {component.label: keys for keys, component in keyed if keys != (component.label,)}
    return tuple(component for _, component in keyed), apart


def _has_content(component: Component) -> bool:
    return bool(len(component.tensors)) or component.state is not None


def _left_out(content: DirectoryContent) -> Iterator[Finding]:
    if content.others:
        message = f"{len(content.others)} __N.metadata lie beside .metadata; they are of another save and were not read"
        yield Finding(
            "DC007", Severity.WARNING, message, content.others[0], hint="remove them once you know what they are"
        )
    if content.unfinished:
        name = printable(content.unfinished[0].rpartition("/")[2])
        message = f"{name} lies beside the metadata: a later save into the same directory did not end"
        deeper = argument("depth", "bytes")
        hint = f"shards that it has replaced are not those that the metadata describes; verify with {deeper}"
        yield Finding("DC008", Severity.WARNING, message, content.unfinished[0], hint=hint)


def _nowhere(whole: DcpMetadata) -> Iterator[Finding]:
    for name, item in whole.items.items():
        if item is None:
            message = f"{printable(name)}: the metadata lists this value, and says nowhere where it is stored"
            hint = "the checkpoint was not saved whole; use another one"
            yield Finding("DC009", Severity.ERROR, message, whole.path, hint=hint)


def _differing(files: Files, prefix: str, joined: Joined, stored: Mapping[str, ByteRange]) -> Iterator[Finding]:
    """Yield DC010 for values that ranks stored differently.

    Ranks without coordination each stored their own: the lowest rank's is shown.
    """
    names = [
        name
        for name, others in joined.elsewhere.items()
        if name in stored and not all(_same(files, stored[name], _place(prefix, other)) for other in others)
    ]
    if names:
        shown = ", ".join(map(printable, names[:_MOST_SHOWN])) + (", …" if len(names) > _MOST_SHOWN else "")
        message = f"the ranks stored different values of {shown}; those of the lowest rank are read"
        yield Finding("DC010", Severity.WARNING, message, joined.whole.path)


def _same(files: Files, first: ByteRange, second: ByteRange) -> bool:
    if first.length != second.length or first.length > _MOST_COMPARED or not is_there(files, second):
        return False
    one, other = files.read_many([first, second])
    return one == other


def _place(prefix: str, item: StoredItem) -> ByteRange:
    return ByteRange(prefix + item.path, item.offset, item.length)


def _is_asset(path: str) -> bool:
    """Return True if a file is carried along.

    It lies at the root and is none of DCP's own.
    """
    return "/" not in path and not path.endswith((SUFFIX, METADATA, f"{METADATA}.tmp"))

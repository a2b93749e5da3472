"""A claim opened through its format's owner: where `load` begins, and any search for the newest whole checkpoint."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckpt_core.errors import UnsupportedFormatError, UsageError
from ckpt_core.reading.checkpoints import StoredCheckpoint
from ckpt_core.schema.access import Files
from ckpt_core.schema.formats import FormatMatch, LoadRequest
from ckpt_core.schema.side_files.own_names import SYNTHESIZED, TAINT, TAINTED_FILE

if TYPE_CHECKING:
    from ckpt_core.manager.plugin_manager import CkptPluginManager

_log = logging.getLogger(__name__)


def open_match(
    manager: "CkptPluginManager",
    files: Files,
    match: FormatMatch,
    options: Mapping[str, Any] | None = None,
    *,
    hints: Mapping[str, object] | None = None,
    lenient: bool = False,
) -> StoredCheckpoint:
    """The checkpoint that a claim is about, its headers read.

    Args:
        manager: The plugin manager, which knows the format's owner.
        files: The listing whose root the claim is about.
        match: The claim.
        options: Options of the format or of its parts, as typed; each goes to all that read with it.
        hints: What the search was narrowed with.
        lenient: Go on without a part of a nested layout that cannot be opened; the manifest says which as an ERROR.

    Raises:
        UsageError: An option is not one of the format's, nor of any of its parts.
        UnsupportedFormatError: The format is recognised and cannot be read.
    """
    if match.problem is not None:
        raise UnsupportedFormatError(f"{files.location}: {match.problem}", code="CK016")
    _log.info("%s: opened as %s (%s)", files.location, match.format, match.evidence)
    checked = checked_options(manager, match.format, _own(manager, files, match, options or {}))
    checkpoint = manager.hooks.load(files=files, match=match, request=LoadRequest(checked, hints or {}))
    if not isinstance(checkpoint, StoredCheckpoint):
        raise UnsupportedFormatError(f"{files.location}: format {match.format} cannot be read yet")
    if match.parts:
        from ckpt_core.manager.parts import with_parts

        checkpoint = with_parts(manager, checkpoint, match.parts, options=options, lenient=lenient)
    if SYNTHESIZED in files.entries:
        from ckpt_core.schema.side_files.synthesized import synthesized_roles

        roles = (*synthesized_roles(files), *checkpoint.manifest.roles)
        checkpoint.manifest = replace(checkpoint.manifest, roles=roles)
    _taint(checkpoint, files)
    return checkpoint


def _taint(checkpoint: StoredCheckpoint, files: Files) -> None:
    """Take what the content says of its taint out of the metadata: written anew it is under other names."""
    metadata = checkpoint.manifest.metadata
    if TAINT not in metadata and TAINTED_FILE not in files.entries:
        return
    from ckpt_core.schema.side_files.taint import of_files, of_text

    found = dict(checkpoint.manifest.tainted)
    if TAINT in metadata:
        found |= of_text(metadata[TAINT], path=str(files.location))
    left = {key: value for key, value in metadata.items() if key != TAINT}
    checkpoint.manifest = replace(checkpoint.manifest, metadata=left, tainted=found | of_files(files))


def _own(
    manager: "CkptPluginManager", files: Files, match: FormatMatch, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The options for the format itself: those that it has, and those that none of its parts has either."""
    if not options or not match.parts:
        return options
    from ckpt_core.manager.parts import readable_options

    having = {option.name for option in manager.format(match.format).options if option.reads}
    others = readable_options(manager, files, match) - having
    return {name: value for name, value in options.items() if name not in others}


def checked_options(
    manager: "CkptPluginManager", format: str, options: Mapping[str, Any], *, writing: bool = False
) -> dict[str, Any]:
    """Options as the format types them.

    Raises:
        UsageError: The format has no such option (names those that have), has it for the other of reading and
            writing, or the value is not of its type.
    """
    declared = {option.name: option for option in manager.format(format).options}
    checked = {}
    for name, value in options.items():
        if name not in declared:
            having = [f.name for f in manager.formats() if any(option.name == name for option in f.options)]
            where = f"formats that have it: {', '.join(having)}" if having else "no format has it"
            raise UsageError(f"--{name}: format {format} has no such option; {where}")
        if not (declared[name].writes if writing else declared[name].reads):
            here, other = ("writing", "reading") if writing else ("reading", "writing")
            raise UsageError(f"--{name}: an option for {other} {format}, not for {here} it")
        kind = declared[name].type
        try:
            checked[name] = _as_bool(value) if kind is bool else kind(value)
        except ValueError:
            raise UsageError(f"--{name} {value}: not {kind.__name__}") from None
    return checked


def _as_bool(value: Any) -> bool:
    text = str(value).lower()
    if text in ("true", "1", "yes", ""):
        return True
    if text in ("false", "0", "no"):
        return False
    raise ValueError(value)

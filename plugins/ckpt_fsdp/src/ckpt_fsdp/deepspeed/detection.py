"""Recognises DeepSpeed's directories by names and pointers.

They are roots with one tag, and tags.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ckpt_core import Confidence, CorruptError, Files, FormatMatch, LocationKind, UsageError, printable
from ckpt_fsdp.deepspeed.names import POINTERS, SCRIPTS, Tag, pointed, step_of, survey

FORMAT = "deepspeed"
_TRAINERS = ("trainer_state.json", "training_args.bin")
"""Files of transformers' Trainer; a save that was stopped lacks the first, which is written last."""


def find(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for each tag or its root.

    There is one for a tag directory that is listed itself, for each root with one tag, and for each tag of a root
    with several: which of them is wanted is not for a pointer to say.
    """
    if files.location.kind is LocationKind.FILE:
        return
    tags = survey(files)
    if "" in tags:
        yield _claim("", tags[""], (files.location.name,), "")
    by_root: dict[str, dict[str, Tag]] = {}
    for path, tag in tags.items():
        if path:
            root, _, name = path.rpartition("/")
            by_root.setdefault(root, {})[name] = tag
    for root, inside in by_root.items():
        yield from _of_root(files, root, inside)
    if not tags:
        yield from _pointer_alone(files)


def tag_of(files: Files) -> str:
    """Return the tag directory that a root stands for.

    "" where the listing is one itself.

    Raises:
        CorruptError: ZE002, there is no tag, or the pointer names one that is not there.
        UsageError: There are several.
    """
    tags = survey(files)
    if "" in tags:
        return ""
    inside = {path: tag for path, tag in tags.items() if "/" not in path}
    if len(inside) == 1:
        return next(iter(inside))
    astray = _astray(pointed(files, ""), inside)
    if astray is not None or not inside:
        raise CorruptError(lost(*(astray or ("", "")), list(inside)), code="ZE002", path=astray and astray[0])
    shown = ", ".join(map(printable, inside))
    first = printable(next(iter(inside)))
    raise UsageError(f"{files.location}: holds {len(inside)} checkpoints ({shown}); name one as REF#{first}")


def lost(pointer: str, name: str, tags: list[str]) -> str:
    """Return ZE002 in words.

    `pointer` is "" where there is none.
    """
    there = f"the tags here are {', '.join(map(printable, tags))}" if tags else "there is no tag directory here"
    said = f"{pointer}: it names {printable(name) or 'nothing'}, and " if pointer else ""
    step = f"name one as REF#{printable(tags[-1])}" if tags else "copy the tag directory too"
    return f"{said}{there}; {step}"


def _of_root(files: Files, root: str, tags: Mapping[str, Tag]) -> Iterator[FormatMatch]:
    pointers = pointed(files, root)
    prefix = f"{root}/" if root else ""
    is_root = bool(pointers) or any(prefix + name in files.entries for name in SCRIPTS)
    is_root = is_root or all(name.startswith("global_step") for name in tags)
    single = is_root and len(tags) == 1
    if single:
        name, tag = next(iter(tags.items()))
        above = (root or files.location.name).rpartition("/")[2]
        claim = _claim(root, tag, (name, above), f"{printable(name)}: ", _pointing(pointers, name))
        # A Trainer's checkpoint holds more than the tag; its own format opens the tag as a part of it.
        nested = any(prefix + name in files.entries for name in _TRAINERS)
        yield replace(claim, confidence=Confidence.LIKELY) if nested else claim
    elif is_root and _astray(pointers, tags) is not None:
        pointer, name = _astray(pointers, tags) or ("", "")
        yield FormatMatch(FORMAT, Confidence.CERTAIN, f"{pointer} names {printable(name)}, which is not there", root)
    if not single or not root:
        for name, tag in tags.items():
            yield _claim(prefix + name, tag, (name,), "", _pointing(pointers, name))


def _claim(root: str, tag: Tag, names: tuple[str, ...], where: str, pointing: str = "") -> FormatMatch:
    """Return a claim.

    The step is in the first of the names that has one.
    """
    step = next((step for step in map(step_of, names) if step is not None), None)
    return FormatMatch(FORMAT, Confidence.CERTAIN, f"{where}{tag.shown}{pointing}", root, step)


def _pointing(pointers: Mapping[str, str], name: str) -> str:
    """Return in words which pointer names a tag.

    The words say what a pointer names instead, where none names it.
    """
    if name in pointers.values():
        return f"; {next(p for p in pointers if pointers[p] == name)} names it"
    return "".join(f"; {pointer} names {printable(said)}" for pointer, said in pointers.items())


def _astray(pointers: Mapping[str, str], tags: Mapping[str, Tag]) -> tuple[str, str] | None:
    return next(((pointer, said) for pointer, said in pointers.items() if said not in tags), None)


def _pointer_alone(files: Files) -> Iterator[FormatMatch]:
    """Yield a match for a root without its tags.

    They were lost in a copy: its pointer names one, and DeepSpeed's script lies beside it.
    """
    pointers = pointed(files, "")
    named = next((pointers[name] for name in POINTERS if name in pointers), None)
    if named is not None and (step_of(named) is not None or any(name in files.entries for name in SCRIPTS)):
        yield FormatMatch(FORMAT, Confidence.LIKELY, f"latest names {printable(named)}, which is not there")

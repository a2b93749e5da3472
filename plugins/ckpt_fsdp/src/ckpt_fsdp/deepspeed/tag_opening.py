"""Opens the rank files of one tag and compares them.

They tell which belong together, and which ranks are lacking.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ckpt_core import (
    BudgetError,
    CorruptError,
    Files,
    Finding,
    FormatError,
    Severity,
    UnsafeContentError,
    UnsupportedFormatError,
    printable,
)
from ckpt_fsdp.deepspeed.fields import broken
from ckpt_fsdp.deepspeed.names import RankFile, Tag, parse
from ckpt_fsdp.deepspeed.rank_files import OptimStates, read_model_states, read_optim_states, unsupported
from ckpt_fsdp.deepspeed.tag_content import TagContent

_States = TypeVar("_States")

_REASONS = {
    "experts": "it is of a mixture of experts, whose experts are split among the ranks",
    "pipeline stages": "its layers are split among pipeline stages",
    "offloaded tensors": "its optimizer was offloaded to a disk, and what lies there has no table",
}
_MOST_RANKS = 1 << 17
"""Several times as many as the largest runs there have been: a number beyond it was not written by DeepSpeed."""

_MOST_NAMED = 8

_OF_A_SAVE = ("global_steps", "dp_world_size", "ds_version")
"""Keys under which the model_states of all ranks of one save say the same."""


def open_tag(files: Files, folder: str, tag: Tag) -> TagContent:
    """Open the files of a tag.

    Raises:
        UnsupportedFormatError: ZE010, parallelism of a kind that is not read here.
        CorruptError: ZE003 or ZE004, without what is missing nothing can be read, or files of two saves lie mixed.
        UnsafeContentError: A file would run code.
    """
    content = open_models(files, folder, tag)
    optims = _chosen(content, tag)
    if content.model.groups is None:
        content.findings += [_left_over(content, file, "these weights were saved without ZeRO") for file in optims]
        return content
    if not optims:
        raise CorruptError(
            f"{printable(folder or str(files.location))}: no optim_states file, and they hold the fp32 weights; copy "
            f"them too, or open {printable(content.model.file.name)} by itself for its weights of fewer bits",
            code="ZE003",
        )
    _read_optims(files, content, optims)
    return content


def open_models(files: Files, folder: str, tag: Tag) -> TagContent:
    """Open the model_states of a tag; raises as `open_tag`.

    Those that are lacking are said.
    """
    _refuse_foreign(folder, tag)
    content = TagContent(folder, read_model_states(files, folder, _first_model(folder, tag)))
    content.findings += _renamed(files, content.path(content.model.file.name), content.model.file)
    _refuse_parallel(content)
    content.world = max(content.model.values.number("dp_world_size") or 1, 1)
    if content.world > _MOST_RANKS:
        raise broken(content.model.values.path, f"dp_world_size is {content.world}")
    if content.model.file.rank is not None:
        _note_models(files, content, tag)
    return content


def _refuse_foreign(folder: str, tag: Tag) -> None:
    """Raise UnsupportedFormatError for layouts that are not read.

    The layouts are known.
    """
    for what in sorted(tag.foreign):
        raise unsupported(folder or "this directory", _REASONS[what])
    for file in tag.files:
        if file.slice:
            raise unsupported(f"{folder}/{file.name}", "its tensors are split among tensor-parallel ranks")


def _renamed(files: Files, path: str, file: RankFile) -> list[Finding]:
    """Return ZE006 for a file of another rank.

    The archive's own folder, which torch.save calls as the file was called, tells.
    """
    head = files.head(path)
    own = head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("utf-8", "replace").partition("/")[0]
    saved = parse(f"{own}.pt") if head[:4] == b"PK\x03\x04" else None
    if saved is None or saved == file:
        return []
    message = f"{printable(path)}: it was saved as {printable(saved.name)}; what it holds is of that rank"
    hint = "give each file the name it was saved under, or copy them again"
    return [Finding("ZE006", Severity.ERROR, message, path, hint=hint)]


def _first_model(folder: str, tag: Tag) -> RankFile:
    models = tag.of("model")
    whole = [file for file in models if file.rank is None]
    if whole and len(whole) < len(models):
        raise CorruptError(
            f"{printable(whole[0].name)}: beside it lie model_states of single ranks, as ZeRO stage 3 alone writes; "
            "move away what is left over from another save",
            code="ZE004",
            path=f"{folder}/{whole[0].name}" if folder else whole[0].name,
        )
    if not models or models[0].rank:
        name = "zero_pp_rank_0_mp_rank_00_model_states.pt" if models else "mp_rank_00_model_states.pt"
        raise CorruptError(
            f"{printable(name)}: missing, and names and shapes of the parameters are in it; copy it too",
            code="ZE003",
            path=f"{folder}/{name}" if folder else name,
        )
    return models[0]


def _refuse_parallel(content: TagContent) -> None:
    values, config = content.model.values, content.model.config
    if (values.number("mp_world_size") or 1) > 1:
        raise unsupported(values.path, "its tensors are split among tensor-parallel ranks")
    zero = config.get("zero_optimization")
    if isinstance(zero, dict) and isinstance(zero.get("mics_shard_size"), int) and zero["mics_shard_size"] > 0:
        raise unsupported(values.path, "its partitions are repeated within groups of ranks (MiCS)")


def _chosen(content: TagContent, tag: Tag) -> list[RankFile]:
    """Return the optim_states files of this save.

    The config says which of two sets with different prefixes is meant.
    """
    optims = tag.of("optim")
    prefixes = {file.prefix for file in optims}
    if len(prefixes) < 2:
        return optims
    section = content.model.config.get("bf16") or content.model.config.get("bfloat16")
    wanted = "bf16_" if isinstance(section, dict) and section.get("enabled") is True else ""
    for file in optims:
        if file.prefix != wanted:
            why = f"the config of this save asks for files that begin {wanted or 'without a prefix'}"
            content.findings.append(_left_over(content, file, why))
    return [file for file in optims if file.prefix == wanted]


def _read_optims(files: Files, content: TagContent, optims: list[RankFile]) -> None:
    for rank, file in sorted(_of_ranks(content, optims).items()):
        optim = _read_rank(files, content, file, read_optim_states)
        if optim is not None:
            content.optims[rank] = optim
    _drop_strangers(content)
    if not content.optims:
        first = next(f for f in content.findings if f.severity is Severity.ERROR)
        raise CorruptError(first.message, code=first.code, path=first.path)


def _of_ranks(content: TagContent, rank_files: list[RankFile]) -> Mapping[int, RankFile]:
    """Return the files of the ranks that there were.

    ZE003 for those that are missing, ZE005 for those of other ranks.
    """
    by_rank = {file.rank or 0: file for file in rank_files}
    content.findings += _missing(content, rank_files[0], set(range(content.world)) - by_rank.keys())
    for rank, file in list(by_rank.items()):
        if rank >= content.world:
            content.findings.append(_left_over(content, file, f"this save was by {content.world} ranks"))
            del by_rank[rank]
    return by_rank


def _read_rank(
    files: Files, content: TagContent, file: RankFile, read: Callable[[Files, str, RankFile], _States]
) -> _States | None:
    """Read the file of a rank.

    None, with a finding, where it cannot be used.
    """
    path = content.path(file.name)
    try:
        misnamed = _renamed(files, path, file)
        content.findings += misnamed
        states = read(files, content.folder, file)
    except (UnsafeContentError, UnsupportedFormatError):
        raise
    except (FormatError, BudgetError) as error:
        error.path = error.path or path
        content.findings.append(Finding.of_error(error))
        return None
    return None if misnamed else states


def _drop_strangers(content: TagContent) -> None:
    """Drop files of other saves, with ZE004.

    They are of a save by other ranks, at another stage, or by another DeepSpeed.
    """
    expected = _expected(content)
    for rank, optim in list(content.optims.items()):
        for what, value in _said(optim, content.world).items():
            if value is not None and expected[what] is not None and value != expected[what]:
                path = content.path(optim.file.name)
                message = f"{printable(path)}: its {what} is {value}, that of this save {expected[what]}"
                hint = "it is of another save; copy the file of this one, or remove what is mixed in"
                content.findings.append(Finding("ZE004", Severity.ERROR, message, path, hint=hint))
                content.optims.pop(rank, None)


def _said(optim: OptimStates, world: int) -> dict[str, object]:
    return {
        "number of ranks": max(optim.partitions, default=world),
        "ZeRO stage": optim.stage,
        "version of DeepSpeed": optim.version,
        "number of parameter groups": len(optim.flat),
    }


def _expected(content: TagContent) -> dict[str, object]:
    """Return what every file of the save should say.

    The model_states say it; else the lowest rank with the right number of ranks does.
    """
    right = [o for o in content.optims.values() if max(o.partitions, default=content.world) == content.world]
    groups = content.model.groups or []
    return {
        "number of ranks": content.world,
        "ZeRO stage": right[0].stage if right else None,
        "version of DeepSpeed": content.model.values.text("ds_version"),
        "number of parameter groups": len(right[0].flat) if right and right[0].stage == 3 else len(groups),
    }


def _note_models(files: Files, content: TagContent, tag: Tag) -> None:
    """Read or count the other ranks' model_states.

    Each rank has them at stage 3. All of them have what is not trained; else they are only counted.
    """
    for rank, file in sorted(_of_ranks(content, tag.of("model")).items()):
        if rank and content.model.fragments:
            _read_other(files, content, file)


def _read_other(files: Files, content: TagContent, file: RankFile) -> None:
    """Read the model_states of a further rank.

    ZE004 where they are not of the same save.
    """
    other = _read_rank(files, content, file, read_model_states)
    if other is None:
        return
    path = content.path(file.name)
    mine, its = content.model.values, other.values
    strange = [key for key in _OF_A_SAVE if mine.values.get(key) != its.values.get(key)]
    for key in strange:
        said, expected = its.values.get(key), mine.values.get(key)
        message = f"{printable(path)}: its {key} is {printable(str(said), 40)}, that of rank 0 {expected}"
        hint = "it is of another save; copy the file of this one"
        content.findings.append(Finding("ZE004", Severity.ERROR, message, path, hint=hint))
    if not strange:
        content.others[file.rank or 0] = other


def _missing(content: TagContent, like: RankFile, ranks: set[int]) -> Iterator[Finding]:
    """Yield ZE003 for the files of missing ranks.

    Named as `like` is; the last one speaks for those that there is no room for.
    """
    for number, rank in enumerate(sorted(ranks)[:_MOST_NAMED]):
        path = content.path(like.name.replace(f"_rank_{like.rank}_mp", f"_rank_{rank}_mp"))
        more = len(ranks) - _MOST_NAMED if number == _MOST_NAMED - 1 else 0
        rest = f", and so are those of {more} more ranks" if more > 0 else ""
        message = f"{printable(path)}: missing{rest}; this save was by {content.world} ranks, and what it had is lost"
        yield Finding("ZE003", Severity.ERROR, message, path, hint="copy it from where the checkpoint was written")


def _left_over(content: TagContent, file: RankFile, why: str) -> Finding:
    path = content.path(file.name)
    message = f"{printable(path)}: left over from another save, and not read: {why}"
    return Finding("ZE005", Severity.WARNING, message, path, hint="remove it: DeepSpeed's own tools read every file")

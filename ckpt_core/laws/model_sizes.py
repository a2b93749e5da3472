"""Compares tensors with the sizes that a config claims.

Each law speaks only of what is known. A layout's owner turns its config into `ModelSizes`; None, or nothing, stands for
what the config does not say.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ckpt_core.laws.missing_blocks import is_block_stack
from ckpt_core.laws.tensor_infos import Stack, TensorInfos, numbers, stacks
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.tensors import TensorInfo
from ckpt_core.schema.text import printable

_TOKENS = tuple(
    f".{table}.weight"
    for table in (
        *("embed_tokens", "wte", "word_embeddings", "shared", "tok_embeddings", "tokens_embed", "embed_in"),
        "token_embedding",
    )
)
"""Tables of one row a token, under the names that they have in transformers and in the models' own code."""

_HEADS = (".lm_head.weight", ".embed_out.weight")
_HEAD_LIKE = re.compile(r"head|embed_out|output|predictions|generator|logits|proj_out|project_out|vocab")
_CLASSIFIED = re.compile(
    r"(^|[._])(classif\w*|score|head|logits\w*|qa_output\w*|output_weights|summary|decoder)([._]|$)"
)

_JUDGED = ("q_proj.weight", "k_proj.weight", "v_proj.weight", "gate_proj.weight", "up_proj.weight")
"""Projections whose sizes a config makes."""

_ONE_SAVE = "copy weights and config from one save"

_SPECIAL = 8
"""Tokens that a model reads and cannot write, or the other way round."""


@dataclass(frozen=True, slots=True)
class LayerCount:
    """A config's claim of how many blocks there are.

    Attributes:
        key: The config's key.
        count: Its value.
        within: Words of which one is in the names of the stack; none for any stack.
        outside: Words of which none is.
        extra: Blocks that may follow, which the model's loader leaves out.
    """

    key: str
    count: int
    within: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    extra: int = 0

    def is_about(self, stack: Stack) -> bool:
        names = stack.prefix
        inside = not self.within or any(word in names for word in self.within)
        return inside and not any(word in names for word in self.outside)


@dataclass(frozen=True, slots=True)
class AttentionSizes:
    """The numbers of query and key-value heads, and their size."""

    heads: int
    kv_heads: int
    head_dim: int
    within: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """The sizes that a model's config claims.

    Attributes:
        path: The config.
        vocabularies: Every number of tokens that it has, by key; empty where one of them may be left unsaid.
        hidden: Columns of a table of tokens.
        layers: Numbers of blocks.
        attention: Sizes of the projections.
        inner: Rows of the first projections of an MLP.
        head: What needs an output layer of its own, where the config says that it shares none.
        classifier: The architecture that needs a layer on top, where it does.
        experts: How many experts a layer has.
        special: Whether the model may read a few tokens more, or fewer, than it writes.
        stacks: Words of which each must be in some name: encoder and decoder.
    """

    path: str
    vocabularies: tuple[tuple[str, int], ...] = ()
    hidden: tuple[str, int] | None = None
    layers: tuple[LayerCount, ...] = ()
    attention: AttentionSizes | None = None
    inner: tuple[str, int] | None = None
    head: str | None = None
    classifier: str | None = None
    experts: tuple[str, int] | None = None
    stacks: tuple[str, ...] = ()
    special: bool = False


def model_sizes(said: ModelSizes, infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW020 to LW026 for false claims about tensors."""
    tables = {name: info for name, info in infos.items() if f".{name}".endswith(_TOKENS)}
    heads = {name: info for name, info in infos.items() if f".{name}".endswith(_HEADS)}
    yield from _vocabulary(said, tables, heads)
    yield from _hidden(said, tables)
    yield from _layers(said, infos)
    yield from _projections(said, infos)
    yield from _head(said, infos, tables)
    yield from _parts_of_architecture(said, infos)


def _vocabulary(said: ModelSizes, tables: TensorInfos, heads: TensorInfos) -> Iterator[Finding]:
    """Yield LW020 for tables of another size than any vocabulary.

    Tables of tokens and output layers have a row for each token.
    """
    sizes = {count for _, count in said.vocabularies}
    if not sizes:
        return
    for name, info in {**tables, **heads}.items():
        if len(info.shape) != 2 or 0 in info.shape or not info.dtype.is_float:
            continue
        rows = info.shape[0]
        others = _rows_of(heads if name in tables else tables) if said.special else set()
        if rows not in sizes and not _is_near(rows, sizes, others):
            keys = " and ".join(f"{key} {count}" for key, count in said.vocabularies)
            message = f"{printable(name)}: {rows} rows, and {printable(said.path)} says {keys}"
            hint = f"the config is of another save; set {said.vocabularies[0][0]} to {rows}, or copy both again"
            yield Finding("LW020", Severity.ERROR, message, said.path, name, hint)


def _rows_of(side: TensorInfos) -> set[int]:
    return {info.shape[0] for info in side.values() if info.shape}


def _is_near(rows: int, sizes: set[int], others: set[int]) -> bool:
    """Return True if a table may differ from the vocabulary.

    The other side of the model has the vocabulary, and this one some rows more or less: tokens that only begin a
    sequence, or stand for an image, are read and never written. Added vocabularies count together, too.
    """
    special = any(size in sizes and 0 < abs(rows - size) <= _SPECIAL for size in others)
    return special or any(rows == one + other for one in sizes for other in sizes if one != other)


def _hidden(said: ModelSizes, tables: TensorInfos) -> Iterator[Finding]:
    """Yield LW021 for token tables of another width.

    Their columns are not the hidden size.
    """
    if said.hidden is None:
        return
    for name, info in tables.items():
        if _is_plain_matrix(info) and info.shape[1] != said.hidden[1]:
            yield _other_size(said, said.hidden[0], name, info, f"{said.hidden[1]} columns")


def _layers(said: ModelSizes, infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW022 for another number of blocks than claimed."""
    blocks = [stack for stack in stacks(infos).values() if is_block_stack(stack)]
    for claim in said.layers:
        mine = [stack for stack in blocks if claim.is_about(stack)]
        allowed = range(claim.count, claim.count + claim.extra + 1)
        if len(mine) != 1 or mine[0].count in allowed:
            continue
        [stack] = mine
        held, says = sorted(stack.blocks), f"{claim.key} {claim.count}"
        message = f"{printable(stack.prefix)}: blocks {numbers(held)}, and {printable(said.path)} says {says}"
        hint = f"a loader starts missing blocks at random, and leaves others out; {_ONE_SAVE}"
        path = next(info.path for name, info in infos.items() if name.startswith(f"{stack.prefix}."))
        yield Finding("LW022", Severity.ERROR, message, path, hint=hint)


def _projections(said: ModelSizes, infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW023 for projections of other sizes than claimed.

    The number of heads, or the inner size, makes the size.
    """
    wrong: dict[str, tuple[str, TensorInfo, int]] = {}
    if said.attention is None and said.inner is None:
        return
    for name, info in infos.items():
        if not name.endswith(_JUDGED) or not _is_plain_matrix(info):
            continue
        projection = name.rpartition(".weight")[0].rpartition(".")[2]
        wanted = _rows(said, name, projection)
        if wanted and info.shape[0] not in wanted:
            wrong.setdefault(projection, (name, info, wanted[0]))
    for name, info, rows in wrong.values():
        yield _other_size(said, "", name, info, f"{rows} rows")


def _rows(said: ModelSizes, name: str, projection: str) -> Sequence[int]:
    attention, inner = said.attention, said.inner
    if attention is not None and projection in ("q_proj", "k_proj", "v_proj") and "attn" in name:
        if attention.within and not any(word in name for word in attention.within):
            return ()
        heads = attention.heads if projection == "q_proj" else attention.kv_heads
        # Gated queries are as wide again.
        return (heads * attention.head_dim, 2 * heads * attention.head_dim)[: 2 if projection == "q_proj" else 1]
    if inner is not None and projection in ("gate_proj", "up_proj") and f".mlp.{projection}" in name:
        return inner[1], 2 * inner[1]
    return ()


def _head(said: ModelSizes, infos: TensorInfos, tables: TensorInfos) -> Iterator[Finding]:
    """Yield LW024 for a missing output layer.

    The config says that it is not shared with the table of tokens.
    """
    if said.head is None or not said.vocabularies:
        return
    sizes = {count for _, count in said.vocabularies}
    if tables and not any(
        name not in tables and (_HEAD_LIKE.search(name) or (len(info.shape) == 2 and sizes & set(info.shape)))
        for name, info in infos.items()
    ):
        message = f"no output layer (lm_head.weight): {printable(said.path)} says {said.head} without tied embeddings"
        hint = "a loader starts it at random; copy the weights again, or set tie_word_embeddings if they were tied"
        yield Finding("LW024", Severity.ERROR, message, said.path, hint=hint)


def _parts_of_architecture(said: ModelSizes, infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW025 for an architecture whose parts are missing.

    No tensor's name is of such a part.
    """
    if said.classifier is not None and not any(map(_CLASSIFIED.search, infos)):
        yield _lacking(said, f"{said.classifier}, and no name is of a classifier", infos)
    if said.experts is not None and not any("expert" in name or "moe" in name for name in infos):
        yield _lacking(said, f"{said.experts[0]} {said.experts[1]}, and no name is of an expert", infos)
    for word in said.stacks:
        if not any(word in name for name in infos):
            yield _lacking(said, f"an encoder and a decoder, and no name is of the {word}", infos)
    if said.experts is not None:
        yield from _expert_counts(said, infos)


def _expert_counts(said: ModelSizes, infos: TensorInfos) -> Iterator[Finding]:
    """Yield LW026 for another number of experts than claimed."""
    assert said.experts is not None
    every = [stack for stack in stacks(infos).values() if stack.leaf == "experts"]
    most = max((stack.count for stack in every), default=said.experts[1])
    if most != said.experts[1]:
        key, count = said.experts
        message = f"{printable(every[0].prefix)}: {most} experts, and {printable(said.path)} says {key} {count}"
        yield Finding("LW026", Severity.ERROR, message, said.path, hint=_ONE_SAVE)


def _lacking(said: ModelSizes, what: str, infos: TensorInfos) -> Finding:
    message = f"{printable(said.path)} says {printable(what)}: the weights are of another architecture"
    return Finding("LW025", Severity.ERROR, message, said.path, hint=_ONE_SAVE)


def _other_size(said: ModelSizes, key: str, name: str, info: TensorInfo, wanted: str) -> Finding:
    shape = " x ".join(map(str, info.shape))
    by = f" by its {key}" if key else " by its sizes"
    message = f"{printable(name)}: {shape}, and {printable(said.path)} makes {wanted} of it{by}"
    return Finding("LW021" if key else "LW023", Severity.ERROR, message, said.path, name, _ONE_SAVE)


def _is_plain_matrix(info: TensorInfo) -> bool:
    return len(info.shape) == 2 and 0 not in info.shape and info.dtype.is_float and info.dtype.bits >= 16

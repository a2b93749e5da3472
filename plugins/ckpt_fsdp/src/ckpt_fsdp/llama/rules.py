"""The model's rules of how each tensor is cut.

They must agree with params.json for what the ranks have.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_ROWS = re.compile(r"(?:.*\.)?(?:attention\.w[qkv]|feed_forward\.w[13]|output)\.(?:weight|bias)")
_COLUMNS = re.compile(r"(?:.*\.)?(?:attention\.wo|feed_forward\.w2)\.weight")
_COPIED = re.compile(r"(?:.*\.)?(?:\w*norm\w*\.weight|rope\.freqs|(?:wo|w2)\.bias)")
_EMBEDDING = re.compile(r"(?:.*\.)?tok_embeddings\.weight")

Shape = tuple[int, ...]


class Params(NamedTuple):
    """The sizes in params.json; None where it lacks one.

    Attributes:
        dim: Width of the model.
        queries: Rows of `wq`: heads times their width.
        keys: Rows of `wk` and `wv`.
        hidden: Rows of `w1` and `w3`.
    """

    dim: int
    queries: int
    keys: int
    hidden: int | None


def params_of(content: Mapping[str, Any]) -> Params | None:
    """Return the sizes of a model.

    None where its params.json lacks them.
    """
    dim, heads = content.get("dim"), content.get("n_heads")
    if type(dim) is not int or type(heads) is not int or dim < 1 or heads < 1:
        return None
    kv = content.get("n_kv_heads")
    kv_heads = kv if type(kv) is int else heads
    given = content.get("head_dim")
    width = given if type(given) is int else dim // heads
    return Params(dim, heads * width, kv_heads * width, _hidden(content, dim))


def _hidden(content: Mapping[str, Any], dim: int) -> int | None:
    """Return the feed-forward width, as the model's code computes it."""
    given, multiple, factor = content.get("hidden_dim"), content.get("multiple_of"), content.get("ffn_dim_multiplier")
    if type(given) is int:
        return given
    if type(multiple) is not int or multiple < 1:
        return None
    hidden = int(2 * (4 * dim) / 3)
    hidden = int(factor * hidden) if isinstance(factor, int | float) else hidden
    return multiple * -(-hidden // multiple)


def world_of(params: Params, shapes: Mapping[str, Shape]) -> int | None:
    """Return how many ranks there were.

    The first tensor that shows it tells; the result is None where none does.
    """
    for name, shape in shapes.items():
        if _COLUMNS.fullmatch(name) and "attention" in name and len(shape) == 2 and shape[1]:
            count, rest = divmod(params.queries, shape[1])
            return count if count and not rest else None
    return None


def axis_of(name: str, shape: Shape, params: Params, world: int) -> int | None:
    """Return the dimension along which a tensor is cut.

    None where each rank has all of it.

    Raises:
        LookupError: The name is none of the model's, or the sizes do not agree; the message says what was expected.
    """
    if world == 1 or _COPIED.fullmatch(name):
        return None
    if _ROWS.fullmatch(name):
        _check(shape, 0, world, _rows(name, params), params.dim if len(shape) > 1 else None)
        return 0
    if _COLUMNS.fullmatch(name):
        _check(shape, 1, world, params.queries if "attention" in name else params.hidden, params.dim)
        return 1
    if _EMBEDDING.fullmatch(name) and len(shape) == 2:
        if shape[1] * world == params.dim:
            return 1
        if shape[1] == params.dim:
            return 0
    raise LookupError("no rule says how it was cut")


def _rows(name: str, params: Params) -> int | None:
    layer = name.rsplit(".", 2)[-2]
    return {"wq": params.queries, "wk": params.keys, "wv": params.keys}.get(
        layer, params.hidden if layer in ("w1", "w3") else None
    )


def _check(shape: Shape, axis: int, world: int, whole: int | None, other: int | None) -> None:
    """Raise LookupError unless the parts fit the sizes.

    They must make up `whole` along the cut, and have `other` along the other dimension.
    """
    if len(shape) <= axis:
        raise LookupError(f"it has {len(shape)} dimensions")
    if whole is not None and shape[axis] * world != whole:
        raise LookupError(f"{world} parts of {shape[axis]} do not make up {whole}")
    if other is not None and shape[1 - axis] != other:
        raise LookupError(f"{shape[1 - axis]} where {other} belongs")

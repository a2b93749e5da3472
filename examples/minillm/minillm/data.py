"""Rows of a JSON-lines file, in batches whose order follows from a seed and the number of the epoch alone.

That is what lets a run go on in the middle of an epoch: nothing about the order has to be stored.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ckpt_core import UsageError
from minillm.tokens import EOS, PAD, chat_tokens, encode

Row = Mapping[str, Any]


def read_rows(path: str | Path, limit: int | None = None) -> list[Row]:
    """The rows of a file, at most `limit`.

    Raises:
        UsageError: There is no such file, it cannot be read, or a line of it is no JSON object; or it has no lines.
    """
    rows: list[Row] = []
    try:
        with open(path, encoding="utf-8") as lines:
            rows += [_row(f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise UsageError(f"{path}: {reason}; name a file of JSON lines with --data_path") from error
    if not rows:
        raise UsageError(f"{path}: holds no rows; name a file of JSON lines with --data_path")
    return rows[:limit]


def _row(where: str, line: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise UsageError(f"{where}: not a JSON object; mend the line, or name another file with --data_path")
    return row


def batches_of(rows: Sequence[Row], size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[list[Row]]:
    """The batches of an epoch from number `skip` on; the last one may be smaller."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed + epoch)).tolist()
    for start in range(skip * size, len(rows), size):
        yield [rows[i] for i in order[start : start + size]]


def padded(sequences: Sequence[Sequence[int]], length: int, fill: int = PAD) -> Tensor:
    """Sequences cut at `length` and filled up on the right to the longest, as one tensor."""
    cut = [list(sequence[:length]) for sequence in sequences]
    longest = max(map(len, cut))
    return torch.tensor([sequence + [fill] * (longest - len(sequence)) for sequence in cut])


def text_batch(rows: Sequence[Row], length: int) -> tuple[Tensor, Tensor]:
    """Tokens of running text, and a mask of those that are learnt, both of shape (batch, tokens)."""
    tokens = [[*encode(row["text"]), EOS] for row in rows]
    return padded(tokens, length), padded([[1] * len(one) for one in tokens], length, 0)


def chat_batch(rows: Sequence[Row], length: int, answer: str = "response") -> tuple[Tensor, Tensor]:
    """As `text_batch`, of questions with the answers under a key; only answers are learnt."""
    both = [chat_tokens(row["prompt"], row[answer]) for row in rows]
    return padded([tokens for tokens, _ in both], length), padded([mask for _, mask in both], length, 0)

"""Text as bytes: 256 tokens, and a few marks that are one token each."""

from collections.abc import Iterable

MARKS = ("<pad>", "<eos>", "<user>", "<assistant>", "<think>", "</think>", "<answer>", "</answer>")
PAD, EOS, USER, ASSISTANT, THINK, THINK_END, ANSWER, ANSWER_END = range(256, 264)
VOCAB_SIZE = 264


def encode(text: str) -> list[int]:
    """Bytes of UTF-8; marks that stand in the text become their tokens."""
    for number, mark in enumerate(MARKS):
        head, found, tail = text.partition(mark)
        if found:
            return [*encode(head), 256 + number, *encode(tail)]
    return list(text.encode())


def decode(tokens: Iterable[int]) -> str:
    """Text; bytes that are none are shown as replacement characters."""
    parts = [bytes([token]) if token < 256 else MARKS[token - 256].encode() for token in tokens if token != PAD]
    return b"".join(parts).decode(errors="replace")


def prompt_tokens(prompt: str) -> list[int]:
    """A question, up to where its answer starts."""
    return [USER, *encode(prompt), ASSISTANT]


def chat_tokens(prompt: str, response: str) -> tuple[list[int], list[int]]:
    """A question and its answer, and for each token whether it is of the answer, which alone is learnt."""
    head, tail = prompt_tokens(prompt), [*encode(response), EOS]
    return head + tail, [0] * len(head) + [1] * len(tail)

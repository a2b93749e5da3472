"""Recognises the formats by the names of minimind's files.

The first bytes must be torch's.
"""

from collections.abc import Iterator

from ckpt_core import CkptError, Confidence, Files, FormatMatch, LocationKind
from ckpt_core.codecs import sniff_torch
from ckpt_minillm.naming import WeightsName, parse_name

WEIGHTS = "minillm"
RESUME = "minillm-resume"

_KEYS = (b"model.embed_tokens.weight", b"model.layers.", b"tok_embeddings.weight", b".lora.A.weight")
"""Parts of tensor names, one of which the first 64 KiB of such a file hold: torch.save writes names first, as text."""


def matches(files: Files) -> Iterator[FormatMatch]:
    """Yield claims on files with minimind's names.

    They are the one file of a listing, or those at the top of a directory.
    """
    single = files.location.kind is LocationKind.FILE
    for path in files.entries:
        name = None if "/" in path else parse_name(path)
        if name is None or name.in_flight:
            continue
        try:
            head = files.head(path)
        except CkptError:
            # The others of a directory can still be read; of a single file the read error is the answer.
            if single:
                raise
            continue
        yield from _claims(name, head, "" if single else path)


def _claims(name: WeightsName, head: bytes, root: str) -> Iterator[FormatMatch]:
    if sniff_torch(head) is None:
        return
    format, what = (RESUME, "what resumes") if name.resume else (WEIGHTS, "weights of")
    evidence = f"the name of {what} {name.stage} of hidden size {name.hidden_size}"
    if not name.counts and any(key in head for key in _KEYS):
        yield FormatMatch(format, Confidence.CERTAIN, f"{evidence}, and minimind's tensor names", root)
    elif name.known:
        yield FormatMatch(format, Confidence.LIKELY, evidence, root)

"""The command of BAGEL's conversion guide.

It makes a complete model directory of a sharded training checkpoint.

    python -m ckpt_fsdp.convert_to_hf_format --checkpoint_dir DIR --output_dir NEW --base_model_path BASE

in one process, or under torchrun with any number of them; neither a GPU nor NCCL is used. It is `ckpt convert` with the
guide's names and defaults, and ends with its exit codes.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from ckpt_core import CkptError, convert, in_shell, printable, torchrun_ranks

if TYPE_CHECKING:
    from ckpt_core import Conversion, Ranks

_INTERRUPTED = 130
_TABLES = ("latent_pos_embed.pos_embed", "vit_pos_embed.pos_embed")
"""Frozen tables that BAGEL's code makes by itself; its loader leaves them out (`train/fsdp_utils.py`)."""

_KEEP = "keep"


def main(argv: Sequence[str] | None = None) -> int:
    """Convert as the arguments say and return the exit code.

    It is that of `ckpt convert`.
    """
    arguments = _parser().parse_args(argv)
    ranks = None
    try:
        with torchrun_ranks() as ranks:
            if ranks.leads:
                _say([f"note: {note}" for note in _notes(os.environ, ranks.world)], sys.stderr)
            done = _convert(arguments, ranks)
    except CkptError as error:
        return _end(ranks, _error_lines(error), error.exit_code)
    except KeyboardInterrupt:
        return _end(ranks, ["error: interrupted; the same command goes on from here"], _INTERRUPTED)
    return _end(ranks, _lines(done, arguments), 0)


def _end(ranks: "Ranks | None", lines: Iterable[str], code: int) -> int:
    """Let the first rank speak, and end together with it.

    Another speaks only where that one does not.
    """
    stream = sys.stderr if code else sys.stdout
    if ranks is None or ranks.leads:
        _say(lines, stream)
    if ranks is not None and not ranks.part() and not ranks.leads and code:
        _say(lines, stream)
    return code


def _say(lines: Iterable[str], stream: TextIO) -> None:
    for line in lines:
        print(line, file=stream)
    stream.flush()


def _error_lines(error: CkptError) -> list[str]:
    code = f" {error.code}" if error.code else ""
    hint = [f"hint: {printable(in_shell(error.hint), 1000)}"] if error.hint else []
    return [f"error{code}: {printable(in_shell(error.message), 4000)}", *hint]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "ckpt_fsdp.convert_to_hf_format",
        description="Make a sharded checkpoint a complete model directory. The base model is never written to.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint_dir", required=True, metavar="REF", help="the sharded checkpoint")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="a new directory for the result")
    parser.add_argument("--base_model_path", required=True, metavar="REF", help="the model it was trained from")
    parser.add_argument(
        "--models", choices=("main", "ema", "both"), default="both", help="what to convert (default: %(default)s)"
    )
    parser.add_argument(
        "--dtype",
        choices=("bf16", "f16", "f32", _KEEP),
        default="bf16",
        help=f"type of the weights, {_KEEP!r} for that of the checkpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--optional",
        action="append",
        default=[],
        metavar="GLOB",
        help="tensors that the model can do without, besides its position tables; may be repeated",
    )
    parser.add_argument(
        "--max_shard_size", "--max-shard-size", metavar="SIZE", help="write shards of at most this, such as 5GB"
    )
    parser.add_argument("--force", action="store_true", help="replace what is at the output directory")
    return parser


def _convert(arguments: Namespace, ranks: "Ranks") -> "Conversion":
    size = arguments.max_shard_size
    return convert(
        arguments.checkpoint_dir,
        arguments.output_dir,
        to="hf",
        base=arguments.base_model_path,
        models=arguments.models,
        optional=(*_TABLES, *arguments.optional),
        dtypes=() if arguments.dtype == _KEEP else (arguments.dtype,),
        options={"max_shard_size": size} if size else {},
        force=arguments.force,
        ranks=ranks,
    )


def _notes(environment: Mapping[str, str], processes: int) -> Iterator[str]:
    """Yield notes on what no longer matters here.

    People are used to watch that there are as many processes as GPUs.
    """
    count = len([name for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()])
    if count not in (0, processes):
        yield f"CUDA_VISIBLE_DEVICES names {count} for {processes} processes; no GPU is used, it does not matter"


def _lines(done: "Conversion", arguments: Namespace) -> Iterator[str]:
    """Yield the report of a conversion.

    Structure, NaViT conversion, files, verification.
    """
    assert done.report is not None
    yield f"checkpoint: {printable(done.source, 1000)}"
    yield f"base model: {printable(done.base or '', 1000)} (read only)"
    for fit in done.fits:
        yield f"{fit.component}: {len(fit.matched)} tensors match the structure of the base's {fit.base}"
        for name, how in fit.rearranged.items():
            yield f"  NaViT: {printable(name)} {how.operation}, {list(how.source)} -> {list(how.target)}"
        if fit.taken:
            yield f"  taken from the base, for the checkpoint lacks them: {_names(fit.taken)}"
        if fit.left_out:
            yield f"  left out, for the base lacks them: {_names(fit.left_out)}"
        for part, count in fit.stripped.items():
            yield f"  {printable(part)}. taken off {count} names"
    for path, size in done.forecast.files.items():
        yield f"  {printable(path)}  {size:,} bytes"
    types = "as they are stored" if arguments.dtype == _KEEP else f"as {arguments.dtype}"
    yield f"verified: {done.report.tensors} tensors read back and equal to the checkpoint's, {types}"
    for label, digest in done.report.components.items():
        yield f"  fingerprint of {label}: {digest}"
    yield f"written: {printable(done.report.location, 1000)}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names))


if __name__ == "__main__":
    sys.exit(main())

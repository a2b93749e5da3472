"""`ckpt convert`: write a checkpoint in another format, proved equal.

It is streamed, and committed whole or not at all.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ckpt_core.cli.app import WritingCommand, examples
from ckpt_core.cli.options import completions
from ckpt_core.cli.options.refs import place_options, ref_argument
from ckpt_core.cli.options.transfer import destination_options, selection_options
from ckpt_core.cli.output.answer import Answer, Block, Table
from ckpt_core.cli.output.base_fit import fit_as_dict, fit_lines, refused
from ckpt_core.cli.session import Session, common_options
from ckpt_core.cli.text import counted, human_bytes, shown_place

if TYPE_CHECKING:
    from ckpt_core.verbs.convert import Conversion
    from ckpt_core.verbs.save import SaveReport


_MOST_SHOWN = 8
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


def _parse_size(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Bytes, from `64MiB`, `5GB` or a plain number."""
    if value is None:
        return None
    text = value.strip().lower()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(digits) :].strip()
    try:
        return int(float(digits) * _UNITS["" if unit == "b" else unit])
    except (ValueError, KeyError, OverflowError):
        raise click.BadParameter(f"{value!r} is not a size such as 64MiB or 5GB.") from None


_EXAMPLES = examples(
    "ckpt convert model.pth model.safetensors",
    "ckpt convert last.ckpt out --to hf",
    "ckpt convert dcp out --to hf --base model",
    "ckpt convert a.pth b.pth --dtype bf16",
)


@click.command("convert", cls=WritingCommand, epilog=_EXAMPLES)
@ref_argument("source", required=True)
@ref_argument("destination", required=True)
@click.option(
    "--to",
    metavar="FORMAT",
    shell_complete=completions.writable_formats,
    help="The format to write; without it the destination's suffix tells.",
)
@click.option(
    "--base",
    metavar="REF",
    shell_complete=completions.refs,
    help="The model that this was trained from, never written to: its names, shapes and files are the result's.",
)
@click.option(
    "--models",
    type=click.Choice(("main", "ema", "both")),
    help="With --base: what to convert.  [default: both, or the model where there is no ema]",
)
@click.option(
    "--optional",
    multiple=True,
    metavar="GLOB",
    help="With --base: tensors that the model can do without, taken from it or left out; may be repeated.",
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    metavar="[GLOB=]TYPE",
    shell_complete=completions.element_types,
    help="Cast plain weights of 16 bits and more, or those whose names match; 'optimizer/*=bf16' another component's. "
    "Scales of quantized weights and counters keep their type. May be repeated, the last counts.",
)
@selection_options(
    component="Convert only this; may be repeated.",
    include="Keep only tensors whose names match; may be repeated.",
    exclude="Leave out tensors whose names match; may be repeated.",
)
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Names that start with OLD; may be repeated.")
@click.option(
    "--max-memory",
    metavar="SIZE",
    callback=_parse_size,
    help="The most memory to take above start-up, for instance 64MiB.",
)
@click.option(
    "--accept-damage",
    is_flag=True,
    help="Go on where bytes do not match a checksum or seal; what is written of them stays marked as tainted.",
)
@click.option(
    "--extract",
    is_flag=True,
    help="Take the tensors out of a file with a dangerous pickle, running nothing; to safetensors, and tainted.",
)
@destination_options(whole="new content", shown="read and written")
@place_options
@common_options
@click.pass_obj
def command(session: Session, /, source: str, destination: str, **how: Any) -> Answer:
    """Write SOURCE in another format to DESTINATION.

    Stopped, it goes on where it was when it is run again. Under torchrun each process writes its share.
    """
    if how["to"] is None:
        _require_suffix(destination)
    from ckpt_core.errors import BaseMismatchError
    from ckpt_core.verbs.convert import convert

    try:
        with session.ranks() as ranks, session.progress() as progress:
            if ranks.leads and ranks.world > 1:
                _say_that_devices_do_not_matter(os.environ.get("CUDA_VISIBLE_DEVICES"), ranks.world)
            done = convert(source, destination, **how, options=session.options, progress=progress, ranks=ranks)
    except BaseMismatchError as error:
        return refused(session, error)
    return Answer(lambda: _result(done, destination), lambda: _page(done, destination), lambda: [destination])


def _require_suffix(destination: str) -> None:
    from ckpt_core.errors import UsageError
    from ckpt_core.manager.plugin_manager import get_plugin_manager
    from ckpt_core.verbs.save import format_of_path

    try:
        format_of_path(destination)
    except UsageError:
        formats = ", ".join(format.name for format in get_plugin_manager().formats() if format.writes)
        place = shown_place(destination)
        message = f"{place}: the name does not tell the format; name it with --to, one of {formats}"
        raise click.UsageError(message) from None


def _say_that_devices_do_not_matter(devices: str | None, processes: int) -> None:
    """Say that the number of GPUs does not matter.

    People are used to watch that there are as many processes as GPUs.
    """
    count = len([name for name in (devices or "").split(",") if name.strip()])
    if count not in (0, processes):
        from ckpt_core.cli.output.terminal import tell

        tell(f"note: CUDA_VISIBLE_DEVICES names {count} for {processes} processes; no GPU is used, it does not matter")


def _result(done: "Conversion", destination: str) -> dict[str, Any]:
    plan, report = done.forecast, done.report
    result: dict[str, Any] = {
        "source": done.source,
        "destination": shown_place(destination),
        "dry_run": report is None,
        "bytes_read": plan.read,
        "bytes_written": plan.written,
        "requests": plan.requests,
        "memory": plan.memory,
        "files": dict(plan.files),
        "components_left_out": list(plan.left_out),
        "notes": list(done.notes),
        "objects_left_out": list(plan.objects_left),
        "set_aside": list(plan.set_aside),
        "uncast": [asdict(one) for one in done.uncast],
    }
    if done.base is not None:
        result |= {"base": shown_place(done.base), "structure": [fit_as_dict(one) for one in done.fits]}
    if report is not None:
        result |= {
            "format": report.format,
            "tensors": report.tensors,
            "cast": report.cast,
            "fingerprints": dict(report.components),
            "restated": list(report.restated),
            "already_done": done.already_done,
            "published": report.published,
            "assets_left_out": list(done.assets_left),
            **report.checked,
            "tainted": dict(report.tainted),
        }
    return result


def _page(done: "Conversion", destination: str) -> Iterator[Block]:
    plan, report = done.forecast, done.report
    yield Table(
        ("file", "size"), [(shown_place(p), human_bytes(size)) for p, size in plan.files.items()], frozenset({"size"})
    )
    yield from (line for one in done.fits for line in fit_lines(one))
    yield from map(shown_place, done.notes)
    if plan.left_out and (done.base is not None or not done.notes):
        yield f"left out, as asked: {', '.join(map(shown_place, plan.left_out))}"
    yield from (f"left out, as asked: {one}" for one in plan.objects_left)
    yield from plan.set_aside[:_MOST_SHOWN]
    if len(plan.set_aside) > _MOST_SHOWN:
        yield f"and {len(plan.set_aside) - _MOST_SHOWN} more such notes; ckpt inspect shows them"
    if done.uncast:
        yield f"kept their types: {'; '.join(shown_place(one.summary) for one in done.uncast)}"
    if report is None:
        amounts = f"would read {human_bytes(plan.read)} and write {human_bytes(plan.written)}"
        amounts += "" if plan.requests is None else f" in {counted(plan.requests, 'request')}"
        yield f"{amounts}, in at most {human_bytes(plan.memory)} of memory; nothing was written"
        return
    if done.assets_left:
        yield f"not carried over, the format has no place for them: {', '.join(map(shown_place, done.assets_left))}"
    if report.restated:
        yield f"changed to say the type of the weights: {', '.join(map(shown_place, report.restated))}"
    proof = f"{counted(report.tensors, 'tensor')} read back and equal"
    if report.cast:
        proof = f"{proof}, {report.cast} of them as cast"
    yield from _checked(report)
    if done.already_done:
        proof = f"already done: it came of the same source and plan; {proof}"
    place = shown_place(report.location if report.published else destination)
    yield f"{place}: {report.format}, {human_bytes(report.nbytes)}; {proof}; sealed"
    if report.published:
        yield shown_place(report.published)


def _checked(report: "SaveReport") -> Iterator[Block]:
    """Say how much of the source could be compared.

    What was read is only as good as that.
    """
    for key, how in report.checked.items():
        what = key.removesuffix("_checked")
        yield (
            f"{what} has no checksums: damage to it would not show"
            if how.startswith("nothing")
            else (f"{what} checked by {how}")
        )
    if report.tainted:
        names = ", ".join(map(shown_place, list(report.tainted)[:3]))
        more = f" and {len(report.tainted) - 3} more" if len(report.tainted) > 3 else ""
        yield f"tainted, and marked so: {names}{more}"

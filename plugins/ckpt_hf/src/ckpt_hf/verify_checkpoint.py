"""The command `python -m ckpt_hf.verify_checkpoint DIR [-v]`.

It tells if a training can go on from a checkpoint, in the guide's words, and asks what `ckpt verify DIR --for resume`
asks. Exit code 0: COMPLETE; 4: PARTIAL or CORRUPT; 3: nothing there; the others are those of ckpt.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import ckpt_core
from ckpt_core import CkptError, Presence, Profile, VerifyReport, in_shell, printable

_LABELS = {
    "config": "Model Config",
    "model": "Model Weights",
    "ema": "Averaged Weights",
    "adapter": "Adapter Weights",
    "tokenizer": "Tokenizer",
    "progress": "Training State",
    "optimizer": "Optimizer State",
    "scheduler": "Scheduler State",
    "scaler": "Scaler State",
    "rng": "RNG States",
    "sampler": "Data Position",
}
_HAVE, _LACK = "\u2705", "\u274c"
_ADVICE = {
    "COMPLETE": "Checkpoint is COMPLETE and ready for stable resume",
    "PARTIAL": "Checkpoint is PARTIAL - missing some state",
    "CORRUPT": "Checkpoint is CORRUPT - do not resume from it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Verify one directory and return the exit code.

    `argv` is without the program's name.
    """
    parser = argparse.ArgumentParser(prog="python -m ckpt_hf.verify_checkpoint", description="Verify a checkpoint.")
    parser.add_argument("checkpoint", metavar="DIR")
    parser.add_argument("-v", "--verbose", action="store_true", help="say where each part is, and what was found")
    given = parser.parse_args(argv)
    try:
        report = ckpt_core.verify(given.checkpoint, profile=Profile.RESUME).report
    except CkptError as error:
        print(f"verify_checkpoint: {in_shell(error.message)}", file=sys.stderr)
        return error.exit_code
    print("\n".join(_lines(report, verbose=given.verbose)))
    assert report.assessment is not None
    return 0 if report.assessment.verdict.value == "COMPLETE" else 4


def _lines(report: VerifyReport, *, verbose: bool) -> Iterator[str]:
    assessment = report.assessment
    assert assessment is not None
    lines = {line.role.kind: line for line in reversed(assessment.lines) if line.role.kind in _LABELS}
    for kind, label in _LABELS.items():
        if kind not in lines or (not lines[kind].needed and kind not in ("config", "tokenizer")):
            continue
        line = lines[kind]
        good = line.met and line.role.presence is not Presence.ABSENT
        detail = " ".join(filter(None, (line.role.where, line.role.note))) if verbose else ""
        said = f" ({line.role.presence.value})" if not good and line.role.presence is not Presence.ABSENT else ""
        yield f"{_HAVE if good else _LACK} {label}{said}{f'  {printable(detail)}' if detail else ''}"
    if verbose:
        yield from (f"{finding.code} {printable(finding.message, 2000)}" for finding in report.findings)
    yield ""
    yield _ADVICE[assessment.verdict.value]
    if assessment.lacking:
        yield assessment.summary


if __name__ == "__main__":
    sys.exit(main())

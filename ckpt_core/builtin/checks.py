"""The generic checks, made from any manifest.

Coverage is checked at every depth; then one walk over all bytes checks the rest.
"""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from ckpt_core.hookspecs import hookimpl

if TYPE_CHECKING:
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.access import Checkpoint, Files
    from ckpt_core.schema.findings import Finding
    from ckpt_core.schema.verification import Sampling, VerifyRequest


@hookimpl
def verify(files: "Files", checkpoint: "Checkpoint | None", request: "VerifyRequest") -> "Iterator[Finding]":
    from ckpt_core.builtin.beside_checks import pickles_beside
    from ckpt_core.builtin.carried_files import left_out, loose_files
    from ckpt_core.builtin.law_checks import for_a_purpose, laws_of_tables, needed_and_opaque
    from ckpt_core.reading.checkpoints import StoredCheckpoint
    from ckpt_core.schema.verification import Depth

    stored = checkpoint if isinstance(checkpoint, StoredCheckpoint) else None
    yield from left_out(files, stored)
    yield from loose_files(files, stored, whole=request.whole)
    broken: set[str | None] = set()
    if stored is not None:
        yield from stored.manifest.findings
        yield from _tainted(files, stored)
        yield from _coverage(files, stored, broken)
        yield from _resumes(stored, request)
        yield from laws_of_tables(stored, request)
        yield from needed_and_opaque(stored, request)
        yield from pickles_beside(files, stored, request)
        if not (yield from _confirms(stored)):
            stored = None
    if request.depth >= Depth.BYTES:
        values = request.depth >= Depth.VALUES
        if request.sampling is None:
            read = _bytes(files, stored, broken, values=values)
        else:
            read = _sample(files, stored, broken, request.sampling, values=values)
        yield from for_a_purpose(read, stored, request)


def _tainted(files: "Files", stored: "StoredCheckpoint") -> "Iterator[Finding]":
    """Yield the taint that the content or the seal records.

    Either outlasts the other.
    """
    from ckpt_core.errors import CorruptError
    from ckpt_core.storage.sealing import read_seal

    try:
        seal = read_seal(files)
    except CorruptError:
        seal = None  # which `check_seal` says
    sealed = seal.provenance if seal is not None else {}
    if not stored.manifest.tainted and "tainted" not in sealed:
        return
    from ckpt_core.schema.side_files.taint import findings_of, of_provenance

    yield from findings_of({**of_provenance(sealed, path=str(files.location)), **stored.manifest.tainted})


def _resumes(stored: "StoredCheckpoint", request: "VerifyRequest") -> "Iterator[Finding]":
    """Yield findings about going on with a training.

    The parts must go together, and be what they are called.
    """
    from ckpt_core.schema.roles import Profile

    if request.profile in (Profile.RESUME, Profile.EXACT_RESUME):
        from ckpt_core.laws.resume import resume_findings

        known = stored.manifest.step
        step = stored.match.step if known is None else known
        yield from resume_findings(stored.manifest, request.profile, step=step, without=request.without)


def _coverage(files: "Files", stored: "StoredCheckpoint", broken: set[str | None]) -> "Iterator[Finding]":
    """Yield findings about the tables of tensors.

    Names of tensors that cannot be read are added to `broken`.
    """
    from dataclasses import replace

    from ckpt_core.reading.coverage import check_component

    for component in stored.manifest.components:
        for finding in check_component(files, component):
            broken.add(finding.tensor)
            yield replace(finding, component=component.label)


def _bytes(
    files: "Files", stored: "StoredCheckpoint | None", broken: set[str | None], *, values: bool
) -> "Iterator[Finding]":
    """Check every byte once.

    It is compared with the seal and the checksums of the files; values of tensors are looked at.
    """
    from ckpt_core.builtin.seals.checks import SealedBlocks
    from ckpt_core.reading.scan.check_all import read_all, sweep

    sealed = SealedBlocks(files)
    if stored is None:
        yield from read_all(files, (), whole=sealed.paths, on_block=sealed.see)
    else:
        yield from sweep(stored, values=values, leave_out=broken, whole=sealed.paths, on_block=sealed.see)
    yield from sealed.findings(stored)


def _sample(
    files: "Files",
    stored: "StoredCheckpoint | None",
    broken: set[str | None],
    sampling: "Sampling",
    *,
    values: bool,
) -> "Iterator[Finding]":
    """Check a part of the bytes, as `_bytes` does."""
    from ckpt_core.builtin.seals.checks import SealedBlocks
    from ckpt_core.reading.scan.check_sample import extent, sampled_sweep
    from ckpt_core.reading.scan.sampled import sampled_walk
    from ckpt_core.schema.findings import Finding

    sealed = SealedBlocks(files)
    if stored is None:
        tally = sampled_walk(files, (), (), sampling, whole=sealed.paths, on_block=sealed.see)
        yield from map(Finding.of_error, tally.errors)
        yield from extent(tally, sampling)
    else:
        tally = yield from sampled_sweep(
            stored, sampling, values=values, leave_out=broken, whole=sealed.paths, on_block=sealed.see
        )
    yield from sealed.findings(None if sampling.seconds else stored, tried=tally.blocks)


def _confirms(stored: "StoredCheckpoint") -> "Generator[Finding, None, bool]":
    """Confirm what opening took on trust; return True if confirmed.

    Where it does not hold, the error is yielded as a finding.
    """
    from ckpt_core.errors import CkptError
    from ckpt_core.schema.findings import Finding

    try:
        stored.confirm()
    except CkptError as error:
        yield Finding.of_error(error)
        return False
    return True

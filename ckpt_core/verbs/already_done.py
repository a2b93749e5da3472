"""Recognises a conversion that an earlier run has finished.

It was killed behind its rename, say. The outcome is proved, or nothing is said.

The seal has the digest of plan and source that it came of, and every byte that is there is compared with the seal.
"""

from dataclasses import asdict
from typing import Any

from ckpt_core.errors import CkptError, LockedError
from ckpt_core.manager.plugin_manager import CkptPluginManager
from ckpt_core.reading.read_back import ReadBack, read_back
from ckpt_core.schema.access import Checkpoint
from ckpt_core.schema.locations import LocationKind
from ckpt_core.schema.plans import WritePlan
from ckpt_core.schema.side_files.seals import Seal
from ckpt_core.storage.files.moments import one_moment
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.storage.sealing import read_seal
from ckpt_core.storage.writing.plan_digest import digest_of_work
from ckpt_core.storage.writing.publishing.publisher import is_published
from ckpt_core.storage.writing.uploads.sealed_places import hold_sealed, sweep_behind
from ckpt_core.verbs.load import Checks, find
from ckpt_core.verbs.save import SaveReport, report_of


def done_already(
    destination: str, plan: WritePlan, view: Checkpoint, *, format: str, manager: CkptPluginManager, ranks: Ranks
) -> SaveReport | None:
    """Return the report of this very work, done by an earlier run.

    None where something else is there, or where it cannot be proved.

    Raises:
        LockedError: Another process is writing there.
    """
    own = _proved(destination, plan, view, format, manager) if ranks.leads else None
    said: dict[str, Any] | None = ranks.from_leader(None if own is None else asdict(own))
    return None if said is None else SaveReport(**{**said, "restated": tuple(said["restated"])})


def _proved(
    destination: str, plan: WritePlan, view: Checkpoint, format: str, manager: CkptPluginManager
) -> SaveReport | None:
    if is_published(destination):
        return None  # the same content makes no second version there
    kind = manager.format(format).writes or LocationKind.FILE
    work = digest_of_work(plan, view, kind)
    if not work:
        return None
    try:
        with hold_sealed(destination, kind) as is_sealed:
            found = _compared(destination, work, format, manager) if is_sealed else None
    except LockedError:
        raise
    except CkptError:
        return None  # what is there cannot be read as that: nothing is proved
    if found is None:
        return None
    sweep_behind(destination)
    return report_of(destination, *found)


def _compared(destination: str, work: str, format: str, manager: CkptPluginManager) -> tuple[Seal, ReadBack] | None:
    place = find(destination, format=format, manager=manager, checks=Checks(seals=False))
    seal = read_seal(place.files)
    if seal is None or seal.provenance.get("plan") != work:
        return None
    with one_moment(place.files):
        proof = read_back(place.open({}))
    return (seal, proof) if proof.files == seal.files and proof.by_component() == seal.tensors else None

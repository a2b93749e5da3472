"""Arguments of a Checkpointer that are of two places.

They are checked before the first step.
"""

from collections.abc import Callable

from ckpt_core.arguments import argument
from ckpt_core.errors import UsageError
from ckpt_core.schema.text import redact
from ckpt_core.training.retention import Keep
from ckpt_core.training.run import Run
from ckpt_core.training.run_folder import RunFolder
from ckpt_core.training.tiers.far_tier import FarRetention, FarTier


def rule_of(keep: int | Keep | None) -> Keep | None:
    """Return the rule that an argument means."""
    return Keep(keep) if isinstance(keep, int) else keep


def far_tier(
    run: Run, url: str | None, keep: Keep | None, keep_far: Keep | None, open_far: Callable[[str], Run]
) -> FarTier | None:
    """Return the place that a run is uploaded to, with its rule.

    None where it is uploaded nowhere. `open_far` gives the run there, where there is a rule.

    Raises:
        UsageError: The run is in no folder of this machine, or the place has no such rule.
    """
    if url is None:
        if keep_far is not None:
            raise UsageError(f"{argument('keep_far')}: needs {argument('upload_to')}, the place that it is of")
        return None
    if not isinstance(run, RunFolder):
        raise UsageError(f"{argument('upload_to')}: {redact(run.path)} is no folder to upload from; give a local one")
    if keep_far is None:
        return FarTier(run, url, keep, None)
    far = open_far(url)
    refuse_undoable(far, keep_far, "keep_far")
    return FarTier(run, url, keep, FarRetention(far, keep_far))


def refuse_undoable(run: Run, keep: Keep | None, name: str) -> None:
    """Refuse a rule of what cannot be done in a run.

    UsageError, which names the argument.
    """
    if keep is None or isinstance(run, RunFolder):
        return
    if keep.recoverable:
        raise UsageError(
            f"{argument(name)}: nothing can be put aside at {redact(run.path)}; give a rule that is not recoverable"
        )
    if keep.thin_every is not None and run.only_removes:
        raise UsageError(
            f"{argument(name)}: a version never changes, and none is made thin at {redact(run.path)}; give a rule "
            "without thin_every"
        )

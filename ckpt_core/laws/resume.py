"""Checks that a training can go on from a checkpoint.

Each part being there is not enough.
"""

from collections.abc import Collection, Iterator

from ckpt_core.laws.optimizer import Weights, optimizer_findings
from ckpt_core.laws.rng import rng_findings
from ckpt_core.laws.whole_weights import weights_are_whole
from ckpt_core.layouts.steps import count_of_state
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.manifests import Component, Manifest
from ckpt_core.schema.roles import Profile


def resume_findings(
    manifest: Manifest, profile: Profile, *, step: int | None = None, without: Collection[str] = ()
) -> Iterator[Finding]:
    """Yield findings about optimizers, steps and random states.

    Random states count for an exact resume only.

    Args:
        manifest: All that is known of the checkpoint.
        profile: The purpose.
        step: How far the training was, where content or names say it.
        without: Kinds that the training had none of; they are not judged.
    """
    weights = Weights.of(manifest.components) if weights_are_whole(manifest) else None
    for component in manifest.components:
        if component.kind in without:
            continue
        if component.kind == "optimizer":
            yield from optimizer_findings(component, weights, step)
        elif component.kind == "progress":
            yield from _of_step(component)
        elif component.kind == "rng" and profile is Profile.EXACT_RESUME:
            yield from rng_findings(component)


def _of_step(component: Component) -> Iterator[Finding]:
    """Yield RS006 for a counter that is no number of steps."""
    count = count_of_state(component.state)
    if count is not None and count.problem:
        hint = "make it the number again that it stands for; nothing is guessed"
        yield Finding(
            "RS006", Severity.ERROR, f"{component.label}: {count.problem}", hint=hint, component=component.label
        )

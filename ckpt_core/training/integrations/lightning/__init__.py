"""Whole checkpoints and exact resumes for Lightning's Trainer.

No pickle is in them.

Rules of Lightning are those of lightning 2.6, `pytorch/loops` and `pytorch/trainer/connectors/checkpoint_connector.py`.
It is imported with the first name that is taken from here.
"""

from typing import TYPE_CHECKING

from ckpt_core.lazy import lazy_names

_WHERE = {
    "BundleIO": "ckpt_core.training.integrations.lightning.bundle_io",
    "ExactResume": "ckpt_core.training.integrations.lightning.callback",
    "newest": "ckpt_core.training.integrations.lightning.finding",
}

__all__ = sorted(_WHERE)  # noqa: PLE0605 - tests/training/integrations/test_lightning.py pins it

if TYPE_CHECKING:
    from ckpt_core.training.integrations.lightning.bundle_io import BundleIO as BundleIO
    from ckpt_core.training.integrations.lightning.callback import ExactResume as ExactResume
    from ckpt_core.training.integrations.lightning.finding import newest as newest
else:
    __getattr__, __dir__ = lazy_names(__name__, _WHERE)

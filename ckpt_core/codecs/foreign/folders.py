"""Recognises folders of other programs by the names in them."""

import re
from collections.abc import Iterable

from ckpt_core.codecs.foreign import signs
from ckpt_core.codecs.foreign.signs import ForeignKind

_ANYWHERE = (
    (r"(?:^|/)(?:_CHECKPOINT_METADATA|manifest\.ocdbt|_sharding|d/[0-9a-f]{32})$", signs.ORBAX),
    (r"(?:^|/)saved_model\.pb(?:txt)?$", signs.SAVED_MODEL),
    (r"(?:^|/)Data/com\.apple\.CoreML/.+", signs.COREML),
    (r"\.data-\d{5}-of-\d{5}$", signs.TENSORFLOW),
    (r"(?:^|/)__model__$|\.pdmodel$", signs.PADDLE),
)
"""Sources: orbax, `checkpoint_handler` and `ocdbt_utils`; TensorFlow, `saved_model/constants.h` and
`tensor_bundle/naming.cc`; coremltools, `modelpackage`."""


def foreign_folder(paths: Iterable[str]) -> tuple[str, ForeignKind] | None:
    """Return the path that identifies a folder, and its kind.

    None where no name does.
    """
    for path in paths:
        for pattern, kind in _ANYWHERE:
            if re.search(pattern, path):
                return path, kind
    return None

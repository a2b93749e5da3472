"""The plugin that recognises stores of versions.

A store is a container: `STORE@v3` is what opens, as the format that it was published in.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from ckpt_core.hookspecs import hookimpl
from ckpt_core.schema.formats import Confidence, Format, FormatMatch, LoadRequest

if TYPE_CHECKING:
    from ckpt_core.schema.access.files import Files

_SIGN = "ckpt.versions.json"
_SCHEMA = b'"ckpt/versions@1"'


@hookimpl
def formats() -> tuple[Format, ...]:
    return (Format("versions", "a store of versions, each opened as STORE@v3; ckpt publish writes it"),)


@hookimpl
def detect_format(files: "Files") -> Iterator[FormatMatch]:
    for path in files.entries:
        root, _, name = path.rpartition("/")
        if name == _SIGN and _SCHEMA in files.head(path)[:200]:
            yield FormatMatch("versions", Confidence.CERTAIN, f"{_SIGN} is the sign of a store", root)


@hookimpl
def load(files: "Files", match: FormatMatch, request: LoadRequest) -> NoReturn:
    """Say what can be opened.

    Raises:
        UsageError: Always: one version has to be named.
    """
    from ckpt_core.errors import UsageError
    from ckpt_core.storage.versions.opening import open_version_store

    store = open_version_store(files.location.url, reads=True)
    whole = [number for number in store.numbers() if store.record(number).is_whole] if store.exists() else []
    if not whole:
        raise UsageError(f"{store}: a store without a version; ckpt publish REF {store} makes one")
    names = ", ".join(["latest", *store.aliases()])
    raise UsageError(
        f"{store}: holds {len(whole)} versions, v{whole[0]} to v{whole[-1]}, and names them {names}; name one, as "
        f"{store}@latest, or see ckpt log {store}"
    )

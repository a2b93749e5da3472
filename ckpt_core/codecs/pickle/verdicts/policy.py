"""Decides what becomes of the names in a pickle.

The verdict on a name and on what it is called with decides.

Nothing is imported in any case. A dangerous name refuses the file; the others are kept, and said as loudly as they are
unknown. `table` has the table.
"""

from ckpt_core.codecs.pickle.records import Recorded
from ckpt_core.codecs.pickle.verdicts.dangerous_names import REACHED
from ckpt_core.codecs.pickle.verdicts.extraction import is_extracting
from ckpt_core.codecs.pickle.verdicts.table import NameVerdict, deed, judge
from ckpt_core.errors import UnsafeContentError
from ckpt_core.schema.findings import Finding, Severity
from ckpt_core.schema.text import printable

_MOST_SHOWN = 3


def canonical(module: str, name: str) -> str:
    """Return the full name, with Python 3's module names."""
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    if (module, name) in NAME_MAPPING:
        module, name = NAME_MAPPING[module, name]
    module = IMPORT_MAPPING.get(module, module)
    return f"{'operator' if module == '_operator' else module}.{name}"


class Judged:
    """The verdicts of one pickle.

    Attributes:
        names: The verdict of each name that it asks for, and of each call whose arguments decide.
        extractable: Whether its tensors can be taken all the same.
        made: What was made of dangerous names, where such a pickle is read for its tensors.
    """

    __slots__ = ("extractable", "made", "names", "path")

    def __init__(self, path: str, *, extractable: bool = True) -> None:
        self.path = path
        self.extractable = extractable
        self.names: dict[str, NameVerdict] = {}
        self.made: list[Recorded] = []

    def name(self, full_name: str, name: str = "") -> NameVerdict:
        """Judge a name.

        Raises:
            UnsafeContentError: PK003, it is dangerous.
        """
        verdict = judge(full_name, name)
        self.note(full_name, verdict, deed(full_name, name or full_name.rpartition(".")[2]))
        return verdict

    def note(self, full_name: str, verdict: NameVerdict, what: str = REACHED) -> None:
        """Keep a verdict if it is this name's worst.

        Raises as `name`.
        """
        if verdict is NameVerdict.DANGEROUS and not (self.extractable and is_extracting()):
            raise refusal(self.path, full_name, what, extractable=self.extractable)
        self.names[full_name] = max(verdict, self.names.get(full_name, NameVerdict.DATA))

    def findings(self, *, but: str = " ") -> list[Finding]:
        """Return the findings about the names of a pickle.

        PK008 for what is dangerous, PK007 for what is harmless, PK004 for what is unknown and does not begin with
        `but`; none where none is.
        """
        findings = []
        dangerous = self._those(NameVerdict.DANGEROUS)
        if dangerous:
            message = f"left out with all that is behind them, dangerous: {dangerous}; nothing was executed"
            findings.append(Finding("PK008", Severity.WARNING, message, self.path))
        harmless = self._those(NameVerdict.HARMLESS)
        if harmless:
            message = f"kept opaque, harmless: {harmless}"
            findings.append(Finding("PK007", Severity.INFO, message, self.path))
        unknown = self._those(NameVerdict.UNKNOWN, but)
        if unknown:
            message = f"kept opaque, not known: {unknown}; nothing of it was imported or called here"
            findings.append(Finding("PK004", Severity.WARNING, message, self.path, hint=_UNKNOWN_HINT))
        return findings

    def _those(self, verdict: NameVerdict, but: str = " ") -> str:
        names = sorted(name for name, judged in self.names.items() if judged is verdict and not name.startswith(but))
        more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
        return ", ".join(printable(name, 80) for name in names[:_MOST_SHOWN]) + more


_UNKNOWN_HINT = "before another program unpickles the file, find out what these do"


def refusal(path: str, full_name: str, what: str = REACHED, *, extractable: bool = True) -> UnsafeContentError:
    """Return the error for a pickle with a dangerous name."""
    otherwise = ", or take its tensors with ckpt convert REF out.safetensors --extract" if extractable else ""
    return UnsafeContentError(
        f"{printable(path)}: asks for {printable(full_name, 120)}, which {what} when unpickled; nothing was executed; "
        f"get it as safetensors{otherwise}",
        code="PK003",
        path=path,
    )

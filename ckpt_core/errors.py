"""The errors that ckpt raises on purpose.

Each has the exit code that the command line ends with.

    CkptError                          70  internal error
    ├── UsageError                      2  the question itself is wrong (also ValueError)
    ├── LocateError
    │   ├── CheckpointNotFoundError     3  nothing there (also FileNotFoundError)
    │   ├── AmbiguousRunError           2  checkpoints of several runs, or without steps, are not compared
    │   ├── IncompleteError             4  checkpoints are there, and none is complete for the purpose
    │   └── UnreachableError            5  a place that does not answer; try again (also OSError)
    │       ├── NoAnswerError           5  its server was silent, failed or broke off, also when it was asked again
    │       └── ReplacedError           5  replaced, changed or removed while it was read; run it again
    ├── LockedError                     5  somebody else writes there now; try again
    ├── FormatError
    │   ├── UnsupportedFormatError      6  nobody here reads this, or a plugin is missing
    │   ├── AmbiguousFormatError        2  two formats claim it equally
    │   ├── CorruptError                4  the content breaks its own format's rules
    │   └── UnsafeContentError          7  the content asks to run code, or leaves its folder
    ├── LoadError                       4  read, but it does not fit what it is loaded into
    │   ├── LoadRefusedError            4  it does not fit a module; nothing of it was changed
    │   ├── LoadInterruptedError        4  a read failed midway; a part of the module is filled
    │   └── BaseMismatchError           4  it is not of the base model's structure; nothing was written
    ├── BudgetError                     8  more memory, disk or file content than was allowed
    ├── OverwriteError                  9  would replace something that exists (also FileExistsError)
    │   └── ConditionFailedError        9  a store did not put an object: another writer was there first
    └── PluginError                    10  a plugin failed; its own error is the cause

A message names the thing, the reason and the next step, in that order. Signals within one module, which nobody outside
catches, are plain exceptions of that module.
"""

from typing import Any, ClassVar

from ckpt_core import arguments


class CkptError(Exception):
    """Root of the tree.

    Attributes:
        code: The finding code this error becomes in a report, or None.
        path: The file it is about, relative to the checkpoint's root.
        tensor: The tensor it is about.
        hint: The next step, where one is known.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        path: str | None = None,
        tensor: str | None = None,
        hint: str | None = None,
    ) -> None:
        message = arguments.message(message)
        super().__init__(message)
        self.message = message
        self.code = code
        self.path = path
        self.tensor = tensor
        self.hint = None if hint is None else arguments.message(hint)


class UsageError(CkptError, ValueError):
    exit_code = 2


class LocateError(CkptError):
    exit_code = 3


class CheckpointNotFoundError(LocateError, FileNotFoundError):
    exit_code = 3

    def __str__(self) -> str:
        return self.message


class AmbiguousRunError(LocateError):
    exit_code = 2


class IncompleteError(LocateError):
    exit_code = 4


class UnreachableError(LocateError, OSError):
    exit_code = 5

    def __str__(self) -> str:
        return self.message


class NoAnswerError(UnreachableError):
    exit_code = 5


class ReplacedError(UnreachableError):
    exit_code = 5


class LockedError(CkptError):
    exit_code = 5


class FormatError(CkptError):
    exit_code = 6


class UnsupportedFormatError(FormatError):
    exit_code = 6


class AmbiguousFormatError(FormatError):
    exit_code = 2


class CorruptError(FormatError):
    """Bytes are not what they should be.

    Attributes:
        acceptable: Whether reading can go on all the same, which `accept_damage` asks for.
    """

    exit_code = 4
    acceptable = False


class UnsafeContentError(FormatError):
    exit_code = 7


class LoadError(CkptError):
    exit_code = 4


class LoadRefusedError(LoadError):
    """Nothing was written.

    Attributes:
        report: The `LoadReport` that says what did not fit.
    """

    def __init__(self, message: str, *, report: Any = None, code: str | None = "LD001", **about: Any) -> None:
        super().__init__(message, code=code, **about)
        self.report = report


class LoadInterruptedError(LoadError):
    """A read failed midway.

    Attributes:
        filled: The module's names that hold their new values; others may hold a part.
    """

    def __init__(self, message: str, *, filled: tuple[str, ...] = (), code: str | None = "LD002", **about: Any) -> None:
        super().__init__(message, code=code, **about)
        self.filled = filled


class BaseMismatchError(LoadError):
    """Nothing was written.

    Attributes:
        fits: A `Fit` of each component that does not fit the base, in full.
    """

    def __init__(self, message: str, *, fits: tuple[Any, ...] = (), code: str | None = "CA006", **about: Any) -> None:
        super().__init__(message, code=code, **about)
        self.fits = fits


class BudgetError(CkptError):
    exit_code = 8


class OverwriteError(CkptError, FileExistsError):
    exit_code = 9

    def __str__(self) -> str:
        return self.message


class ConditionFailedError(OverwriteError):
    exit_code = 9


class PluginError(CkptError):
    exit_code = 10

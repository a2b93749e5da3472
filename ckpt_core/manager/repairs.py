"""Merges the repairs that plugins propose into one plan.

No action touches anything outside of the checkpoint, and no two touch one file.
"""

from collections.abc import Iterable, Sequence

from ckpt_core.errors import PluginError
from ckpt_core.schema.repairs import Irreparable, Operation, RepairAction, RepairPlan, RepairRequest
from ckpt_core.schema.side_files.reserved_names import is_under_way
from ckpt_core.schema.text import printable


def planned(answers: Iterable[RepairAction | Irreparable], request: RepairRequest) -> RepairPlan:
    """Return the repair plan made of all answers.

    Actions that would invent or lose something are withheld, unless that is accepted.

    Raises:
        PluginError: Two actions are about one file, or one leads out of the checkpoint.
    """
    actions: list[RepairAction] = []
    beyond: list[Irreparable] = []
    for answer in answers:
        if isinstance(answer, Irreparable):
            beyond.append(answer)
        elif answer not in actions:
            actions.append(answer)
    actions.sort(key=lambda action: (action.path, action.operation.value))
    _check(actions)
    return RepairPlan(
        tuple(action for action in actions if _is_allowed(action, request)),
        tuple(action for action in actions if not _is_allowed(action, request)),
        tuple(dict.fromkeys(beyond)),
    )


def _is_allowed(action: RepairAction, request: RepairRequest) -> bool:
    return request.accept_loss or (action.lossless and not action.invents)


def _check(actions: Sequence[RepairAction]) -> None:
    touched: set[str] = set()
    for action in actions:
        for path in (action.path, action.source) if action.source else (action.path,):
            if path in touched:
                raise PluginError(f"{printable(path)}: two repairs want this file; see ckpt plugins; nothing was done")
            if leads_away(path):
                raise PluginError(f"{printable(path)}: a repair wants this path, which is no file of the checkpoint")
            touched.add(path)
        if (action.operation is Operation.RENAME) != bool(action.source):
            raise PluginError(f"{printable(action.path)}: a rename has a source, and nothing else has")


def leads_away(path: str) -> bool:
    """Return True if a relative path leaves its folder.

    A path into a stage or a backup of ours counts too.
    """
    return any(part in ("", ".", "..") or "\0" in part or is_under_way(part) for part in path.split("/"))

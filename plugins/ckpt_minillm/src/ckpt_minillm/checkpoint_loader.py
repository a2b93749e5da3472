"""`CheckpointLoader`: the three methods of MiniLLM's guide.

Each does what the guide says, or raises.
"""

import os
from typing import TYPE_CHECKING

import ckpt_core
from ckpt_core import CheckpointNotFoundError, LocationKind, Query, UsageError, printable
from ckpt_minillm.filling import fill_model
from ckpt_minillm.naming import WeightsName, stage_of
from ckpt_minillm.search import PRETRAINED_PATH, joined
from ckpt_minillm.search_query import HIDDEN_SIZE, REMOTE_DIR, switch_of
from ckpt_minillm.trainer.log import Logger, Voice

if TYPE_CHECKING:
    import torch

LOCAL_DIR = "./out"


class CheckpointLoader:
    """Finds a stage's file and loads it into a model.

    Named and missing raises `CheckpointNotFoundError`, which is a FileNotFoundError. Only where nothing was named is
    None returned, with a warning: whoever trains on then starts from random weights, and was told.
    """

    @staticmethod
    def get_checkpoint_path(
        stage: str,
        hidden_size: int,
        use_moe: bool = False,
        source: str = "local",
        local_dir: str | os.PathLike[str] = LOCAL_DIR,
        remote_dir: str | os.PathLike[str] = REMOTE_DIR,
    ) -> tuple[str, bool]:
        """Return the path of a stage's weights.

        The flag says if there is a file.

        Args:
            stage: A stage or its alias: `sft` is `full_sft`.
            hidden_size: The model's.
            use_moe: Whether it has experts.
            source: `local` or `remote`.
            local_dir: The local folder.
            remote_dir: The remote folder or URL.

        Raises:
            UsageError: There is no such source, or the stage cannot be part of a name.
            UnreachableError: The place does not answer.
        """
        if source not in ("local", "remote"):
            raise UsageError(f"source {printable(source)}: not local or remote")
        name = WeightsName(stage_of(stage), hidden_size, _experts(use_moe))
        path = joined(os.fspath(local_dir if source == "local" else remote_dir), str(name))
        resolution = ckpt_core.locate(path, env={})
        if not resolution.found and not isinstance(resolution.error(), CheckpointNotFoundError):
            raise resolution.error()
        return path, resolution.location is not None and resolution.location.kind is LocationKind.FILE

    @staticmethod
    def resolve_checkpoint_path(
        stage: str | None = None,
        hidden_size: int | None = None,
        use_moe: bool = False,
        explicit_path: str | os.PathLike[str] | None = None,
        env_var: str = PRETRAINED_PATH,
        local_dir: str | os.PathLike[str] = LOCAL_DIR,
        remote_dir: str | os.PathLike[str] = REMOTE_DIR,
        logger: Logger = None,
        *,
        load_from_remote: bool = False,
        prefer: str | None = None,
        fallback_stages: tuple[str, ...] | list[str] | None = None,
    ) -> str | None:
        """Return the path of the checkpoint.

        It is the one given, else that of a variable, else the remote file, else the local.

        Args:
            stage: A stage or its alias; None to look at the first two only.
            hidden_size: The model's; None for 512.
            use_moe: Whether it has experts.
            explicit_path: A path or URL; a missing one raises.
            env_var: The variable that may hold a path; set and missing raises.
            local_dir: The local folder.
            remote_dir: The remote folder or URL.
            logger: Told of every place and why; a logger or a function.
            load_from_remote: Search the remote folder only; a missing file raises.
            prefer: `remote` (the default), `local`, or `newest` by a recorded step.
            fallback_stages: Stages that may stand in, in that order.

        Returns:
            The path; None, with a warning, where nothing was named and nothing found.

        Raises:
            CheckpointNotFoundError: What was named is not there.
            UnreachableError: A place does not answer.
        """
        voice = Voice(logger)
        hints: dict[str, object] = {
            "stage": stage,
            "path": explicit_path,
            "hidden_size": HIDDEN_SIZE if hidden_size is None else hidden_size,
            "use_moe": use_moe,
            "local_dir": local_dir,
            "remote_dir": remote_dir,
            "remote_only": load_from_remote or None,
            "prefer": prefer,
            "fallback_stages": fallback_stages,
        }
        hints = {hint: value for hint, value in hints.items() if value is not None}
        env = {PRETRAINED_PATH: os.environ.get(env_var, "")}
        resolution = ckpt_core.get_plugin_manager().hooks.locate(query=Query(None, hints, env))
        for line in resolution.explain().splitlines() if logger is not None else ():
            voice.say(line)
        if resolution.location is not None:
            return resolution.location.url
        error = resolution.error()
        named = explicit_path is not None or env[PRETRAINED_PATH] or load_from_remote
        if named or any(attempt.outcome.value != "missing" for attempt in resolution.attempts):
            raise error
        voice.warn(f"No pretrained checkpoint found ({error.message}); the model keeps the weights it has")
        return None

    @staticmethod
    def load_checkpoint(
        model: "torch.nn.Module",
        checkpoint_path: str | os.PathLike[str] | None,
        device: "str | torch.device | None" = "cuda:0",
        strict: bool = False,
        logger: Logger = None,
    ) -> bool:
        """Fill a model from a checkpoint, whole or not at all.

        Args:
            model: Filled where its tensors are; they keep their types.
            checkpoint_path: Weights, a resume file (its model is taken), or any checkpoint that ckpt reads; None,
                as `resolve_checkpoint_path` may return, loads nothing.
            device: As the guide has it. Tensors go straight from the file to the model's own memory, so that none is
                ever made on this device: it moves nothing, and may be absent, of which a warning tells.
            strict: Refuse missing and unexpected names. Without it they are tolerated and logged, but never another
                shape, no match at all, another number of layers, or less than two thirds of the model or the file.
            logger: Told what matched, and what did not.

        Returns:
            True where tensors were loaded; False where `checkpoint_path` is None.

        Raises:
            CheckpointNotFoundError: The path leads nowhere.
            CkptError: It cannot be read, or does not fit; the model is unchanged.
        """
        voice = Voice(logger)
        if checkpoint_path is None:
            voice.warn("no checkpoint path: nothing was loaded, the model keeps the weights it has")
            return False
        _tell_absent(device, voice)
        report = fill_model(model, ckpt_core.load(_as_path(checkpoint_path)), strict=strict)
        tell = voice.warn if report.missing or report.unexpected else voice.say
        tell(report.summary())
        return True


def _experts(use_moe: object) -> bool:
    try:
        return switch_of(str(use_moe))
    except ValueError:
        raise UsageError(f"use_moe {printable(str(use_moe))}: not true or false") from None


def _as_path(given: str | os.PathLike[str]) -> str:
    """Return a path that cannot be taken for a stage's name."""
    path = os.fspath(given)
    return path if "://" in path or os.sep in path else os.path.join(".", path)


def _tell_absent(device: "str | torch.device | None", voice: Voice) -> None:
    import torch

    if device is None:
        return
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"device {printable(str(device))}: not a device of torch; give cpu or cuda:0") from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        voice.warn(f"device {wanted} is not here; the model is filled where it is")

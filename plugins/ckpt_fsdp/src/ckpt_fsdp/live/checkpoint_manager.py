"""The names of BAGEL's conversion guide for a running training.

Arguments stand in the guide's order. What its own manager does in silence is an error here: a checkpoint that is not
there, one of which nothing was loaded, an average that was never saved, an optimizer that is missing.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    from ckpt_fsdp.live.manager_loading import Loaded


class ShardedCheckpointManager:
    """Checkpoints of a sharded training; each function is called on every rank."""

    @staticmethod
    def detect_checkpoint_format(checkpoint_path: str) -> str:
        """Return `sharded`, `huggingface` or `unknown`.

        A step with shards is the first, whole weights are the second.

        Raises:
            CheckpointNotFoundError: Nothing is there, which is not `unknown`.
        """
        from ckpt_fsdp.live.manager_loading import detect

        return detect(checkpoint_path)

    @staticmethod
    def save_sharded_checkpoint(
        ckpt_dir: str,
        train_steps: int,
        model: "torch.nn.Module",
        ema_model: "torch.nn.Module | None",
        optimizer: "torch.optim.Optimizer",
        scheduler: Any = None,
        data_status: Any = None,
        logger: Any = None,
        save_full_model: bool = False,
        *,
        use_dcp: bool = True,
        state_dict_options: "StateDictOptions | None" = None,
    ) -> str:
        """Save a step: each rank its share, whole or not at all.

        Args:
            ckpt_dir: A folder that all ranks share; the step's is in it, `0000400`.
            train_steps: The step.
            model: A module in any of torch's ways to spread it.
            ema_model: Its average; None where there is none.
            optimizer: Its optimizer; each rank writes its own part.
            scheduler: A schedule; None for none.
            data_status: What the data of each rank has come to, as rank 0 has gathered it; None for none.
            logger: Told of what was done; None for the one of this module.
            save_full_model: Write `model_full.safetensors` too: rank 0 holds all of the model for that time.
            use_dcp: False for a file of weights a rank in place of directories of DCP.
            state_dict_options: How the state is held while it is written; None for `cpu_offload=True`: each rank holds
                its share once more, in host memory, of the model, its average and the moments one after the other.
                `full_state_dict=True` writes BAGEL's layouts of whole weights, `model.safetensors` and
                `ema.safetensors`: with `cpu_offload=True` rank 0 holds all of the model in host memory, then all of
                the average, and the others nothing; without it every rank holds all on its device. The optimizer
                stays in a file a rank; that of FSDP1 has its flat parameters, and is loaded by as many ranks.

        Returns:
            The folder of the step.

        Raises:
            OverwriteError: A checkpoint of the step is there.
            CkptError: A rank could not write its share: its error, on every rank; there is no such step then.
        """
        from ckpt_fsdp.live.manager_saving import save_step

        logger = logger or logging.getLogger(__name__)
        beside = (scheduler, data_status, logger, save_full_model, use_dcp, state_dict_options)
        return save_step(ckpt_dir, train_steps, model, ema_model, optimizer, *beside)

    @staticmethod
    def load_sharded_checkpoint(
        resume_from: str,
        model: "torch.nn.Module | None",
        ema_model: "torch.nn.Module | None" = None,
        optimizer: "torch.optim.Optimizer | None" = None,
        scheduler: Any = None,
        logger: Any = None,
        load_model: bool | None = None,
        load_ema: bool | None = None,
    ) -> "Loaded":
        """Load a step into what is given.

        It may be of any number of ranks, in any of BAGEL's layouts.

        Args:
            resume_from: The folder of the step, or its URL.
            model: What is filled with the weights.
            ema_model: What is filled with the average, never with the weights.
            optimizer: What is filled with the optimizer's state.
            scheduler: What is filled with the schedule's state.
            logger: Told of what was done; None for the one of this module.
            load_model: False to leave the model as it is; None to fill it where it is given.
            load_ema: False to leave the average as it is; None to fill it where it is given.

        Returns:
            What was given, the step that comes next, and what this rank's data had come to.

        Raises:
            IncompleteError: Something was given that the checkpoint does not have; nothing was changed.
            LoadRefusedError: It does not fit; nothing was changed.
            LoadInterruptedError: A part was filled, and another failed.
            UsageError: Something is to be loaded, and there is nothing to load it into.
            CkptError: It cannot be found, opened or read.
        """
        from ckpt_fsdp.live.manager_loading import load_sharded

        logger = logger or logging.getLogger(__name__)
        return load_sharded(resume_from, model, ema_model, optimizer, scheduler, logger, load_model, load_ema)

    @staticmethod
    def load_hf_checkpoint(
        checkpoint_path: str,
        model: "torch.nn.Module",
        ema_model: "torch.nn.Module | None" = None,
        logger: Any = None,
        load_ema_from_main: bool = False,
    ) -> tuple[Any, Any]:
        """Load whole weights into a model and its average.

        Args:
            checkpoint_path: The file, the directory, or a URL.
            model: What is filled with the weights.
            ema_model: What is filled with the average.
            logger: Told of what was done; None for the one of this module.
            load_ema_from_main: Begin the average with the weights of the model.

        Returns:
            The two modules.

        Raises:
            IncompleteError: It has no average, and `load_ema_from_main` is not set; nothing was changed.
            LoadRefusedError: It does not fit; nothing was changed.
            CkptError: It cannot be found, opened or read.
        """
        from ckpt_fsdp.live.manager_loading import load_weights

        logger = logger or logging.getLogger(__name__)
        return load_weights(checkpoint_path, model, ema_model, logger, load_ema_from_main)

"""The data of a Trainer without numbers, as one endless pass.

A Trainer that goes on asks again for what it had, or with `ignore_data_skip` begins the stream anew. Here it skips
nothing: the loader goes on where its own state says.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ckpt_core.training.data.iterable_loader import IterableLoader


class EndlessLoader:
    """Batches of an `IterableLoader`, one epoch behind the other.

    They are those of a whole training.

    Args:
        inner: Gives the batches.
        length: Batches of the training.
    """

    def __init__(self, inner: IterableLoader, length: int) -> None:
        self.inner = inner
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        empty = 0
        while empty < 2:  # the rest of an epoch is empty where a training goes on from its end
            empty += 1
            for batch in self.inner:
                empty = 0
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream is."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there. LoadRefusedError where the stream is another one."""
        self.inner.load_state_dict(state_dict)

    def refuse(self, state_dict: Mapping[str, Any]) -> None:
        """Raise the error with which `load_state_dict` would refuse a state.

        Nothing is changed.
        """
        self.inner.refuse(state_dict)


def is_stream(dataset: object) -> bool:
    """Return whether a dataset has no samples under numbers."""
    from torch.utils.data import IterableDataset

    return isinstance(dataset, IterableDataset) or (hasattr(dataset, "__iter__") and not hasattr(dataset, "__len__"))


def stream_of(trainer: Any, *, replay: bool) -> EndlessLoader:
    """Return the loader of a Trainer's stream.

    It has the Trainer's batches, collation and workers.

    Raises:
        UsageError: The stream has no state, and is not to be replayed.
    """
    args = trainer.args
    workers = (
        {"persistent_workers": args.dataloader_persistent_workers, "prefetch_factor": args.dataloader_prefetch_factor}
        if args.dataloader_num_workers
        else {}
    )
    inner = IterableLoader(
        trainer.train_dataset,
        args.train_batch_size,
        seed=args.seed if args.data_seed is None else args.data_seed,
        drop_last=args.dataloader_drop_last,
        replay=replay,
        collate_fn=trainer._get_collator_with_removed_columns(trainer.data_collator, description="training"),
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        multiprocessing_context=args.dataloader_multiprocessing_context,
        **workers,
    )
    return EndlessLoader(inner, args.max_steps * args.gradient_accumulation_steps)

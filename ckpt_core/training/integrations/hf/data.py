"""The data of a Trainer by keys.

Here is also what of a Trainer would give other data or randomness after a stop.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from ckpt_core.errors import LoadRefusedError, UsageError
from ckpt_core.training.data.fingerprints import fingerprint
from ckpt_core.training.data.keyed_data import KeyedCollate, KeyedDataset, KeyedSampler
from ckpt_core.training.data.keyed_random import generator_of
from ckpt_core.training.integrations.hf.streams import is_stream

_WORKERS = -3
"""Takes the place of an epoch in the key of what workers are seeded with."""

_ITS_OWN = ("get_train_dataloader", "_get_train_sampler", "_get_dataloader")


@dataclass(frozen=True, slots=True)
class DataSettings:
    """The settings that the position in the data depends on.

    Attributes:
        samples: Of the dataset; None of a stream.
        batch_size: Samples of a batch.
        accumulate: Batches of a step.
        fingerprint: What the dataset says of its content; None where it says nothing.
    """

    seed: int
    samples: int | None
    batch_size: int
    accumulate: int
    shuffle: bool
    drop_last: bool
    fingerprint: str | None = None

    @classmethod
    def of(cls, trainer: Any) -> "DataSettings":
        """Return those of a Trainer."""
        args = trainer.args
        return cls(
            seed=args.seed if args.data_seed is None else args.data_seed,
            samples=None if is_stream(trainer.train_dataset) else len(trainer.train_dataset),
            batch_size=args.train_batch_size,
            accumulate=args.gradient_accumulation_steps,
            shuffle=args.train_sampling_strategy == "random",
            drop_last=args.dataloader_drop_last,
            fingerprint=fingerprint(trainer.train_dataset),
        )

    def sampler(self) -> KeyedSampler:
        """Return what gives the keys of an epoch of numbered samples."""
        assert self.samples is not None
        return KeyedSampler(
            self.samples, self.batch_size, seed=self.seed, shuffle=self.shuffle, drop_last=self.drop_last
        )

    def steps(self, args: Any) -> int:
        """Return the steps after which a training ends.

        With these arguments, as the Trainer counts them.
        """
        if args.max_steps > 0:
            return int(args.max_steps)
        epochs = float(args.num_train_epochs)
        return ceil(epochs * max(ceil(len(self.sampler()) / self.accumulate), 1))

    def refuse(self, saved: Mapping[str, Any], where: str) -> None:
        """LoadRefusedError where another position would follow from the same step."""
        for name, value in asdict(self).items():
            if saved.get(name) != value:
                raise LoadRefusedError(
                    f"{where}: {name} was {saved.get(name)!r} and is {value!r}: a Trainer counts its position in "
                    "steps, and samples would come twice or never; set it back, or start a new run; nothing was changed"
                )


def keyed_loader(given: Any, data: DataSettings) -> Any:
    """Return a loader by keys in place of a Trainer's.

    It has the dataset, collation and workers of that one.
    """
    from torch.utils.data import DataLoader

    sampler = _Batches(data.sampler())
    workers = (
        {"persistent_workers": given.persistent_workers, "prefetch_factor": given.prefetch_factor}
        if given.num_workers
        else {}
    )
    loader: Any = DataLoader(
        KeyedDataset(given.dataset, data.seed),
        batch_sampler=sampler,
        collate_fn=KeyedCollate(given.collate_fn, data.seed),
        generator=generator_of(data.seed, _WORKERS),
        num_workers=given.num_workers,
        pin_memory=given.pin_memory,
        multiprocessing_context=given.multiprocessing_context,
        worker_init_fn=given.worker_init_fn,
        **workers,
    )
    loader.set_epoch = sampler.set_epoch  # the Trainer asks the loader, and behind skipped batches their sampler
    return loader


class _Batches:
    """The keys of an epoch that a Trainer sets."""

    def __init__(self, keys: KeyedSampler) -> None:
        self.keys = keys

    def set_epoch(self, epoch: int) -> None:
        self.keys.epoch = epoch

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys)


def refuse_inexact(trainer: Any) -> None:
    """Refuse what could not be had again after a stop.

    UsageError, with the cure, for something of a Trainer.
    """
    for reason in (*_reasons(trainer), *(_of_a_stream(trainer.args) if is_stream(trainer.train_dataset) else ())):
        raise UsageError(f"{type(trainer).__name__}: {reason}")


def _reasons(trainer: Any) -> Iterator[str]:
    args, dataset = trainer.args, trainer.train_dataset
    if args.world_size > 1 or trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        yield "run_trainer sees to trainings of one process; save several with what they have of their own"
    if dataset is None:
        yield "it has no train_dataset, and nothing to train on; give it one"
    own = [name for name in _ITS_OWN if "transformers.trainer" not in getattr(trainer, name).__module__]
    if own:
        yield f"it has a {own[0]} of its own, whose order is not known; leave it out: the order follows from the seed"
    if args.train_sampling_strategy not in ("random", "sequential"):
        yield f"the order of train_sampling_strategy={args.train_sampling_strategy!r} is drawn anew; use 'random'"
    if getattr(trainer.data_collator, "seed", None) is not None:
        yield "its data_collator has a generator of its own, which is not saved; leave its seed out"
    skips = () if is_stream(dataset) else ("ignore_data_skip",)
    for name in (*skips, "save_only_model", "auto_find_batch_size"):
        if getattr(args, name) is True:
            yield f"{name}=True: a resume is not exact with it; leave it out"
    if not args.dataloader_in_order:
        yield "dataloader_in_order=False: batches come in another order each time; leave it out"


def _of_a_stream(args: Any) -> Iterator[str]:
    for name in ("save_strategy", "eval_strategy", "logging_strategy"):
        if getattr(args, name) == "epoch":
            yield f"{name}='epoch': a stream is trained on in one endless pass; count in steps"

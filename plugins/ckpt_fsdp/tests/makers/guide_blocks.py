"""Run by torchrun: what BAGEL's guide does within a training, block by block, with a tiny BAGEL under FSDP1 and FSDP2.

`guide_blocks.py OUT [BLOCK …]` notes in `OUT/outcomes.json` for each block what each rank came to: None, or its error.
Arguments have the names and the order of the guide's manager.
"""

import copy
import json
import os
import sys
import traceback
from pathlib import Path

import live_models as live
import tiny_bagel
import torch
import torch.distributed as dist
from ckpt_fsdp import ShardedCheckpointManager
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_optimizer_state_dict
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from ckpt_core.errors import CheckpointNotFoundError, CkptError, IncompleteError, LoadRefusedError

STEP = 6
BLOCKS = {}
WRAPPERS = {}


def block(function):
    BLOCKS[function.__name__] = function
    return function


def wrapper(function):
    WRAPPERS[function.__name__] = function
    return function


@wrapper
def fsdp2(model):
    for layer in model.language_model.model.layers:
        fully_shard(layer)
    return fully_shard(model)


@wrapper
def fsdp1(model):
    how = {"auto_wrap_policy": ModuleWrapPolicy({tiny_bagel.Layer}), "use_orig_params": True}
    return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **how)


class Logger:
    """What the guide's trainers and its converter give: one that prints, or here keeps, at each rank."""

    def __init__(self):
        self.said = []

    def info(self, text):
        self.said.append(text)

    warning = error = info


class Training:
    """A model, its average, optimizer and schedule; fresh ones of another seed have nothing in common with them."""

    def __init__(self, wrap, seed, steps=0):
        model = tiny_bagel.build(seed, linear=False)
        self.ema_model = wrap(copy.deepcopy(model).requires_grad_(False) if wrap is fsdp1 else copy.deepcopy(model))
        self.model = wrap(model)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=0.05, foreach=False)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 0.9**step)
        for _ in range(steps):
            self.step()

    def step(self):
        logits, latents = self.model(*tiny_bagel.question())
        (logits.square().mean() + latents.square().mean()).backward()
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            for average, parameter in zip(self.ema_model.parameters(), self.model.parameters(), strict=True):
                average.lerp_(parameter, 0.1)

    def whole(self, kind):
        return get_model_state_dict(getattr(self, kind), options=StateDictOptions(full_state_dict=True))

    def moments(self):
        whole = StateDictOptions(full_state_dict=True)
        state = get_optimizer_state_dict(self.model, self.optimizer, options=whole)["state"]
        return {f"{name}.{key}": value for name, fields in state.items() for key, value in fields.items()}


class World:
    """What every block has: a folder, this rank, a training of each kind, and where each was saved."""

    def __init__(self, out):
        self.out, self.rank, self.world = out, dist.get_rank(), dist.get_world_size()
        self.trained = {name: Training(wrap, 0, steps=2) for name, wrap in WRAPPERS.items()}
        self.data_status = [{"t2i": {0: [rank, 3, 17]}} for rank in range(self.world)]

    def place(self, *parts):
        return str(self.out.joinpath(*parts))

    def step_of(self, name, way):
        return self.place(name, way, "checkpoints", f"{STEP:07d}")


def equal(first, second):
    assert set(first) == set(second), set(first) ^ set(second)
    unlike = [name for name in first if not torch.equal(first[name], second[name])]
    assert not unlike, unlike


def fails(kind, call, *arguments, **named):
    caught = None
    try:
        call(*arguments, **named)
    except CkptError as error:
        caught = error
    assert all(live.every(isinstance(caught, kind))), live.every(repr(caught))
    return str(caught)


@block
def saving(world):
    """Memory-efficient sharded saving, by DCP and by the fallback, with the metadata that says what there is."""
    for name, one in world.trained.items():
        for way in ("dcp", "fallback"):
            logger = Logger()
            place = ShardedCheckpointManager.save_sharded_checkpoint(
                ckpt_dir=world.place(name, way, "checkpoints"),
                train_steps=STEP,
                model=one.model,
                ema_model=one.ema_model,
                optimizer=one.optimizer,
                scheduler=one.scheduler,
                data_status=world.data_status,
                logger=logger,
                save_full_model=way == "dcp",
                **({} if way == "dcp" else {"use_dcp": False}),
            )
            assert place == world.step_of(name, way) and any(place in text for text in logger.said)


@block
def format_detection(world):
    """`metadata.json` for shards, the standard files, and a safetensors file by itself."""
    detect = ShardedCheckpointManager.detect_checkpoint_format
    weights = world.trained["fsdp2"].whole("model")
    if world.rank == 0:
        for file in ("model.safetensors", "pytorch_model.bin", "model.pt"):
            folder = world.out / "published" / file
            folder.mkdir(parents=True)
            (folder / "config.json").write_text("{}")
            save_file(weights, folder / file) if file == "model.safetensors" else torch.save(weights, folder / file)
    dist.barrier()
    assert {detect(world.step_of(name, way)) for name in WRAPPERS for way in ("dcp", "fallback")} == {"sharded"}
    folders = {detect(str(folder)) for folder in (world.out / "published").iterdir()}
    files = {detect(str(file)) for file in (world.out / "published").glob("*/model*")}
    assert folders == files == {"huggingface"}, (folders, files)


def load_all(place, one, **how):
    return ShardedCheckpointManager.load_sharded_checkpoint(
        resume_from=place,
        model=one.model,
        ema_model=one.ema_model,
        optimizer=one.optimizer,
        scheduler=one.scheduler,
        logger=Logger(),
        **how,
    )


@block
def selective_loading(world):
    """All of it, without the model, and without the average; into the ways of sharding that did not save it too."""
    for name, saved in world.trained.items():
        for way in ("dcp", "fallback"):
            crossed = way == "dcp" and world.world > 2
            for into, wrap in WRAPPERS.items() if crossed else [(name, WRAPPERS[name])]:
                one = Training(wrap, 5)
                place = world.step_of(name, way)
                model, ema_model, optimizer, scheduler, train_steps, data_status = load_all(place, one)
                assert (model, ema_model, optimizer, scheduler) == tuple(
                    getattr(one, part) for part in ("model", "ema_model", "optimizer", "scheduler")
                )
                assert train_steps == STEP + 1 and data_status == world.data_status[world.rank]
                for kind in ("model", "ema_model"):
                    equal(one.whole(kind), saved.whole(kind))
                equal(one.moments(), saved.moments())
                assert scheduler.last_epoch == 2, into
    part = Training(fsdp2, 5)
    before = {kind: part.whole(kind) for kind in ("model", "ema_model")}
    place = world.step_of("fsdp2", "dcp")
    load_all(place, part, load_model=False)
    equal(part.whole("model"), before["model"])
    equal(part.whole("ema_model"), world.trained["fsdp2"].whole("ema_model"))
    part = Training(fsdp2, 5)
    load_all(place, part, load_ema=False)
    equal(part.whole("ema_model"), before["ema_model"])
    equal(part.whole("model"), world.trained["fsdp2"].whole("model"))


@wrapper
def flat(model):
    """FSDP1 as BAGEL's own trainer has it: weights are known by their place in flat parameters alone."""
    policy = ModuleWrapPolicy({tiny_bagel.Layer})
    model.requires_grad_(True)
    return FullyShardedDataParallel(model, auto_wrap_policy=policy, device_id=torch.device("cpu"))


WRAPPERS.pop("flat")


@block
def layouts_of_whole_weights(world):
    """The other two of BAGEL's four layouts: saved, recognised, and loaded by as many ranks with all that there was."""
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    for name, wrap, optimizer in (
        ("fsdp2", fsdp2, "optimizer_rank{:05d}_of{:05d}.pt"),
        ("flat", flat, "optimizer.{:05d}-of-{:05d}.pt"),
    ):
        saved, one = Training(wrap, 0, steps=2), Training(wrap, 5)
        folder, how = world.place("whole", name), {"state_dict_options": whole}
        arguments = (saved.model, saved.ema_model, saved.optimizer, saved.scheduler, world.data_status, Logger())
        place = Path(ShardedCheckpointManager.save_sharded_checkpoint(folder, STEP, *arguments, **how))
        files = {"model.safetensors", "ema.safetensors", "scheduler.pt", "data_status.pt"}
        files |= {optimizer.format(rank, world.world) for rank in range(world.world)}
        assert files == {path.name for path in place.iterdir() if ".ckpt." not in path.name}
        assert ShardedCheckpointManager.detect_checkpoint_format(str(place)) == "huggingface"
        assert load_all(str(place), one).train_steps == STEP + 1
        for kind in ("model", "ema_model"):
            equal(one.whole(kind), saved.whole(kind))
        equal(one.moments(), saved.moments())
        one.step()
        saved.step()
        equal(one.whole("model"), saved.whole("model"))
    other = Training(fsdp2, 5)
    assert "flat parameters" in fails(IncompleteError, load_all, str(place), other)


@block
def losses_go_on(world):
    """What was loaded trains on to the same weights as what was saved."""
    for name, wrap in WRAPPERS.items():
        one, saved = Training(wrap, 5), Training(wrap, 0, steps=2)
        load_all(world.step_of(name, "dcp"), one)
        one.step()
        saved.step()
        equal(one.whole("model"), saved.whole("model"))


@block
def published_weights(world):
    """`load_hf_checkpoint` of each file that the guide names, into the model and, if asked for, the average."""
    wanted = world.trained["fsdp2"].whole("model")
    for file in ("model.safetensors", "pytorch_model.bin", "model.pt"):
        for path in (world.place("published", file), world.place("published", file, file)):
            one = Training(fsdp2, 5)
            model, ema_model = ShardedCheckpointManager.load_hf_checkpoint(
                checkpoint_path=path,
                model=one.model,
                ema_model=one.ema_model,
                logger=Logger(),
                load_ema_from_main=True,
            )
            assert (model, ema_model) == (one.model, one.ema_model)
            equal(one.whole("model"), wanted)
            equal(one.whole("ema_model"), wanted)
    one = Training(fsdp1, 5)
    ShardedCheckpointManager.load_hf_checkpoint(world.place("published", file), one.model, None, Logger())
    equal(one.whole("model"), wanted)


@block
def truth(world):
    """Where the guide's own manager is silent: an average or a place that is not there, weights of which none fits."""
    one, load = Training(fsdp2, 5), ShardedCheckpointManager.load_hf_checkpoint
    before = one.whole("model"), one.whole("ema_model")
    place = world.place("published", "model.safetensors")
    assert "load_ema_from_main=True" in fails(IncompleteError, load, place, one.model, one.ema_model, Logger())
    fails(CheckpointNotFoundError, load, world.place("nowhere"), one.model, None, Logger())
    ShardedCheckpointManager.save_sharded_checkpoint(
        world.place("plain"), STEP, one.model, None, one.optimizer, None, None, Logger()
    )
    plain = os.path.join(world.place("plain"), f"{STEP:07d}")
    assert "load_ema=False" in fails(IncompleteError, load_all, plain, one)
    strange = live.of_tensors({"0": torch.zeros(8, 8)}, live.mesh_of(list(range(world.world))))
    sharded = ShardedCheckpointManager.load_sharded_checkpoint
    fails(LoadRefusedError, sharded, plain, strange, None, None, None, Logger())
    equal(one.whole("model"), before[0])
    equal(one.whole("ema_model"), before[1])


def main(out, *chosen):
    dist.init_process_group("gloo")
    world = World(Path(out))
    outcomes = {}
    for name in chosen or BLOCKS:
        error = None
        try:
            BLOCKS[name](world)
        except Exception:
            error = traceback.format_exc()
            print(error, file=sys.stderr, flush=True)
        outcomes[name] = live.every(error)
    whole = {kind: {name: one.whole(kind) for name, one in world.trained.items()} for kind in ("model", "ema_model")}
    if world.rank == 0:
        (world.out / "outcomes.json").write_text(json.dumps(outcomes))
        torch.save(whole, world.out / "whole.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])

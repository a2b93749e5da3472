"""Run by torchrun: load into sharded models whatever the same script has saved at four ranks, on each number of ranks.

`live_load.py OUT [CASE …]` notes in `OUT/outcomes.json` for each case what each rank came to: None, or its error. Four
ranks save first; of another number `live_load.py OUT --saved FOLDER [CASE …]` loads a copy of what those have saved.
"""

import json
import shutil
import sys
import time
import traceback
from pathlib import Path

import live_models as live
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from torch.distributed.tensor import DTensor

import ckpt_core
from ckpt_core.errors import (
    CheckpointNotFoundError,
    CkptError,
    CorruptError,
    IncompleteError,
    LoadInterruptedError,
    LoadRefusedError,
    OverwriteError,
    UsageError,
)
from ckpt_core.training import load_into as load_object
from ckpt_core.training import optimizer_state
from ckpt_core.training.loading import prepare

CASES = {}
FULL = StateDictOptions(full_state_dict=True)
SAVED = ("dcp-?", "whole-?-0.pt", "hf", "model.pth", "model.safetensors", "bundle", "sealed.safetensors*")
SIZES = ((4, 4), (4, 2), (2, 3), (1, 4), (4, 3))


def case(function):
    CASES[function.__name__] = function
    return function


class World:
    """What every case has: the meshes of the first n ranks, a folder, and what was saved in it."""

    def __init__(self, out):
        self.out, self.rank, self.size = out, dist.get_rank(), dist.get_world_size()
        self.meshes = {n: live.mesh_of(list(range(n))) for n in range(1, self.size + 1)}
        self.mesh = self.meshes[self.size]
        grid = [[0, 1], [2, 3]] if self.size == 4 else [list(range(self.size))]
        self.grid = live.mesh_of(grid, mesh_dim_names=("dp", "tp"))
        self.truth, self.optimizer_truth = None, None

    def save(self, n):
        """Save model, average and optimizer on n ranks with stock torch; rank 0 keeps the whole values."""
        if self.rank < n:
            model = live.fsdp2(self.meshes[n])
            optimizer = live.adamw(model)
            state = {
                "model": model.state_dict(),
                "ema": live.fsdp2(self.meshes[n], seed=9).state_dict(),
                "optimizer": get_optimizer_state_dict(model, optimizer),
            }
            dcp.save(state, checkpoint_id=self.out / f"dcp-{n}", process_group=self.meshes[n].get_group())
            torch.save(live.whole(state), self.out / f"whole-{n}-{self.rank}.pt")
        dist.barrier()

    def wanted(self, n=4, kind="model"):
        return torch.load(self.out / f"whole-{n}-0.pt", weights_only=True)[kind]

    def copy(self, saved):
        """What other ranks have saved, for these to load."""
        if self.rank == 0:
            for path in (path for name in SAVED for path in saved.glob(name)):
                shutil.copytree(path, self.out / path.name) if path.is_dir() else shutil.copy(path, self.out)
        dist.barrier()

    def files(self):
        """The weights of four ranks in files of other formats."""
        if self.rank == 0:
            model = self.wanted()
            hf = self.out / "hf"
            hf.mkdir()
            names = list(model)
            for number, part in enumerate((names[:3], names[3:]), 1):
                save_file({name: model[name] for name in part}, hf / f"model-{number:05d}-of-00002.safetensors")
            index = {name: f"model-{1 if name in names[:3] else 2:05d}-of-00002.safetensors" for name in names}
            (hf / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
            (hf / "config.json").write_text(json.dumps({"model_type": "toy"}))
            torch.save(model, self.out / "model.pth")
            save_file(model, self.out / "model.safetensors")
            ckpt_core.save({"model": model, "step": 3}, str(self.out / "bundle"), format="bundle")
            ckpt_core.save({"model": model}, str(self.out / "sealed.safetensors"))
        dist.barrier()


def same(model, wanted):
    """Compare this rank's part of every tensor with the whole ones, bit by bit."""
    state = model.state_dict()
    assert {name.removeprefix("module.") for name in state} == set(wanted)
    for name, tensor in state.items():
        assert torch.equal(local(tensor), local(live.placed_as(tensor, wanted[name.removeprefix("module.")]))), name


def local(tensor):
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def places(model):
    return [local(tensor.detach()).data_ptr() for tensor in model.parameters()]


@case
def resharded(world):
    for saved, ranks in SIZES:
        if world.rank >= ranks or ranks > world.size:
            continue
        where = world.out / f"dcp-{saved}"
        for kind in ("model", "ema"):
            model = live.fsdp2(world.meshes[ranks], seed=5)
            before = places(model)
            report = ckpt_core.load_into(model, where, component=kind)
            same(model, world.wanted(saved, kind))
            assert places(model) == before and report.ranks == ranks and report.coverage == 1.0, report


@case
def resharded_optimizers(world):
    for saved, ranks in SIZES:
        if world.rank >= ranks or ranks > world.size:
            continue
        model = live.fsdp2(world.meshes[ranks], seed=5)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, foreach=False)
        report = load_object(optimizer, world.out / f"dcp-{saved}")
        assert report.coverage == 1.0, report
        state = get_optimizer_state_dict(model, optimizer)
        wanted = world.wanted(saved, "optimizer")
        assert state["param_groups"][0]["lr"] == wanted["param_groups"][0]["lr"]
        for name, fields in wanted["state"].items():
            for key, value in fields.items():
                found = state["state"][name][key]
                assert torch.equal(local(found), local(live.placed_as(found, value))), (name, key)
        for parameter in model.parameters():
            parameter.grad = live.placed_as(parameter, torch.ones(parameter.shape))
        optimizer.step()


@case
def other_formats(world):
    for name in ("hf", "model.pth", "model.safetensors", "bundle", "sealed.safetensors"):
        for atomic in (False, True):
            model = live.fsdp2(world.mesh, seed=5)
            before = places(model)
            ckpt_core.load_into(model, world.out / name, atomic=atomic)
            same(model, world.wanted())
            assert places(model) == before


@case
def other_meshes(world):
    for name, replicas in (("dcp-4", "auto"), ("hf", "broadcast")):
        models = live.fsdp2(world.grid, seed=5), live.tensor_parallel(world.mesh, 5), live.both(world.grid, 5)
        for model in models:
            report = ckpt_core.load_into(model, world.out / name, component="model", replicas=replicas)
            same(model, world.wanted())
            assert ("sent on" in report.shared) == (replicas == "broadcast"), report.shared


@case
def copies_of_ddp(world):
    for replicas, share in (("auto", 1), ("broadcast", world.size)):
        model = live.ddp(5)
        report = ckpt_core.load_into(model, world.out / "hf", replicas=replicas)
        same(model, world.wanted())
        nbytes = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
        assert sum(live.every(report.share)) == world.size * nbytes // share, report
        optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, foreach=False)
        report = load_object(optimizer, world.out / "dcp-4", model=model, replicas=replicas)
        assert ("sent on" in report.shared) == (share > 1), report.shared
        fields = [value for state in optimizer.state.values() for value in state.values()]
        nbytes = sum(tensor.numel() * tensor.element_size() for tensor in fields)
        assert sum(live.every(report.share)) == world.size * nbytes // share, report


@case
def flat_parameters(world):
    for how in ({}, {"use_orig_params": True}):
        model = live.fsdp1(5, **how)
        report = ckpt_core.load_into(model, world.out / "dcp-4", component="model")
        assert report.coverage == 1.0
        with torch.distributed.fsdp.FullyShardedDataParallel.summon_full_params(model):
            wanted = world.wanted()
            for name, tensor in model.module.state_dict().items():
                assert torch.equal(tensor, wanted[name]), name


@case
def flat_optimizers(world):
    """Numbered by the order of parameters (torch's own) as well as by their names (DCP)."""
    for how in ({}, {"use_orig_params": True}):
        model = live.fsdp1(5, **how)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, foreach=False)
        checkpoint = ckpt_core.load(world.out / "dcp-4")
        prepare(optimizer, checkpoint, checkpoint.component("optimizer"), model)
        assert not optimizer.state, "what is only planned has changed it"
        load_object(optimizer, checkpoint, model=model)
        state, wanted = get_optimizer_state_dict(model, optimizer, options=FULL), world.wanted(4, "optimizer")
        if world.rank == 0:
            assert state["param_groups"][0]["lr"] == wanted["param_groups"][0]["lr"]
            for name, fields in wanted["state"].items():
                for key, value in fields.items():
                    assert torch.equal(state["state"][name][key], value), (name, key, state["state"][name][key], value)


@case
def flattened_optimizers(world):
    """Saved by names (flatten_optimizer_state_dict), by ckpt and by torch: into FSDP2 and FSDP1, and by dcp.load."""
    from ckpt_fsdp import CkptStorageReader

    flat, wanted = StateDictOptions(flatten_optimizer_state_dict=True), world.wanted(4, "optimizer")["state"]
    saved = live.fsdp2(world.mesh)
    state = optimizer_state(saved, live.adamw(saved), flat)
    ckpt_core.save({"optimizer": state}, str(world.out / "flat-ckpt"), format="dcp")
    dcp.save({"optimizer": state}, checkpoint_id=world.out / "flat-torch")
    for name in ("flat-ckpt", "flat-torch"):
        for model in (live.fsdp2(world.mesh, 5), live.fsdp1(5), live.fsdp1(5, use_orig_params=True)):
            optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, foreach=False)
            load_object(optimizer, world.out / name, model=model)
            found = get_optimizer_state_dict(model, optimizer, options=FULL)
            if world.rank == 0:
                assert found["param_groups"][0]["lr"] == 1e-2
                assert all(
                    torch.equal(found["state"][n][k], one) for n, fields in wanted.items() for k, one in fields.items()
                )
        model = live.fsdp2(world.mesh, 5)
        into = {"optimizer": optimizer_state(model, live.adamw(model, 1), flat)}
        dcp.load(into, storage_reader=CkptStorageReader(world.out / name))
        found = live.whole(into["optimizer"])
        assert all(
            torch.equal(found[f"state.{n}.{k}"], one) for n, fields in wanted.items() for k, one in fields.items()
        )
        assert found["param_groups.large.lr"] == 1e-2


@case
def casts(world):
    model = live.fsdp2(world.mesh, seed=5, dtype=torch.bfloat16)
    report = ckpt_core.load_into(model, world.out / "hf")
    assert report.cast["large"] == ("F32", "bfloat16")
    same(
        model,
        {
            name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
            for name, tensor in world.wanted().items()
        },
    )


def refused(world, error, ref, *, model=None, changed=False, **how):
    """Every rank raises, and no rank's part has changed."""
    model = model or live.fsdp2(world.mesh, seed=5)
    before = live.local_digest(model)
    caught = None
    try:
        ckpt_core.load_into(model, ref, **how)
    except CkptError as failed:
        caught = failed
    messages = live.every(None if caught is None else str(caught))
    assert all(messages), messages
    assert isinstance(caught, error), repr(caught)
    assert changed or live.local_digest(model) == before, "a refused load changed a rank"
    return messages


@case
def misfits(world):
    for keep, how in ((lambda name: name != "head.weight", {}), (lambda name: False, {"min_coverage": 0.0})):
        if world.rank == 0:
            torch.save(
                {**{n: t for n, t in world.wanted().items() if keep(n)}, "strange": torch.ones(2)},
                world.out / "misfit.pth",
            )
        dist.barrier()
        refused(world, LoadRefusedError, world.out / "misfit.pth", **how)
        dist.barrier()
    refused(world, CkptError, world.out / "not there")
    refused(world, CkptError, world.out / "dcp-4", component="nothing of that name")


@case
def another_model_on_one_rank(world):
    model = live.fsdp2(world.mesh, seed=5)
    other = world.size - 1
    if world.rank == other:
        model.register_buffer("only here", torch.ones(2))
    messages = refused(world, CorruptError, world.out / "hf", model=model)
    assert all(f"rank {other} load different things" in message for message in messages), messages


@case
def other_files_on_one_rank(world):
    own = world.out / f"own-{world.rank}"
    shutil.copytree(world.out / "hf", own)
    if world.rank == 1:
        (own / "config.json").write_text("{}")
    opened = ckpt_core.load(own)
    messages = refused(world, CorruptError, opened)
    assert all("rank 1 see different files" in message for message in messages), messages


def flipped(world, name, offset):
    """A copy of a file or folder, one byte of its largest file flipped."""
    source, place = world.out / name, world.out / "flipped" / name
    if world.rank == 0:
        place.parent.mkdir(exist_ok=True)
        shutil.copytree(source, place) if source.is_dir() else shutil.copy(source, place)
        for side in source.parent.glob(f"{name}.ckpt*"):
            shutil.copy(side, place.parent)
        file = max(place.rglob("*"), key=lambda path: path.stat().st_size) if place.is_dir() else place
        with open(file, "r+b") as opened:
            opened.seek(offset if offset >= 0 else file.stat().st_size + offset)
            byte = opened.read(1)
            opened.seek(-1, 1)
            opened.write(bytes([byte[0] ^ 1]))
    dist.barrier()
    return place


@case
def damage(world):
    """A flipped byte in what only some ranks read is every rank's error, from a seal and from checksums of records."""
    for name, offset in (("sealed.safetensors", -9 << 10), ("model.pth", 1 << 20), ("dcp-2", 1 << 20)):
        place = flipped(world, name, offset)
        how = {"component": "model"} if "dcp" in name else {}
        refused(world, CorruptError, place, atomic=True, **how)
    refused(world, LoadInterruptedError, place, changed=True, **how)


@case
def shares_of_bytes(world):
    """What each rank reads is its share: parts of records and of tensors, and none of them again for a checksum."""
    large = torch.randn(3 << 12, 1 << 8)
    whole = {f"layers.{n}": large + n for n in range(6)}
    if world.rank == 0:
        (world.out / "big").mkdir()
        save_file(whole, world.out / "big" / "model.safetensors")
        (world.out / "big" / "config.json").write_text("{}")
    dist.barrier()
    mesh = world.mesh
    state = {"model": {name: live.distribute(tensor, mesh) for name, tensor in whole.items()}}
    dcp.save(state, checkpoint_id=world.out / "big-dcp")
    ranks = min(3, world.size)
    if world.rank < ranks:
        for name in ("big", "big-dcp"):
            model = live.of_tensors({n: torch.zeros_like(t) for n, t in whole.items()}, world.meshes[ranks])
            before = live.bytes_read()
            report = ckpt_core.load_into(model, world.out / name, component="model")
            read = live.bytes_read() - before
            same(model, whole)
            share = 6 * large.numel() // ranks * 4
            assert report.share == share
            assert read <= 1.02 * share + (1 << 16), (name, read / share)


@case
def stock_reader(world):
    from ckpt_fsdp import CkptStorageReader

    for saved, ranks in ((4, 4), (2, 3)):
        if world.rank < ranks <= world.size:
            model = live.fsdp2(world.meshes[ranks], seed=5)
            optimizer = live.adamw(model, steps=1)
            group = world.meshes[ranks].get_group()
            state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
            reader = CkptStorageReader(world.out / f"dcp-{saved}")
            dcp.load(state, storage_reader=reader, process_group=group)
            same(model, world.wanted(saved))
            wanted = world.wanted(saved, "optimizer")
            for name, fields in wanted["state"].items():
                for key, value in fields.items():
                    found = state["optimizer"]["state"][name][key]
                    assert torch.equal(local(found), local(live.placed_as(found, value))), (name, key)
            assert state["optimizer"]["param_groups"][0]["lr"] == wanted["param_groups"][0]["lr"]
    for name in ("hf", "model.pth", "bundle"):
        model = live.fsdp2(world.mesh, seed=5)
        state = model.state_dict()
        dcp.load(state, storage_reader=CkptStorageReader(world.out / name, component="model"))
        same(model, world.wanted())


def raised(kind, call, *arguments, **how):
    """The error that every rank raises."""
    caught = None
    try:
        call(*arguments, **how)
    except CkptError as failed:
        caught = failed
    assert all(live.every(isinstance(caught, kind))), live.every(repr(caught))
    return caught


def schedule(optimizer, step=0):
    made = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5)
    made.last_epoch = step
    return made


@case
def manager_round_trips(world):
    from ckpt_fsdp import ShardedCheckpointManager as Manager

    mesh = world.mesh
    for use_dcp in (True, False):
        model, ema = live.fsdp2(mesh), live.fsdp2(mesh, seed=9)
        optimizer = live.adamw(model)
        data = [{"seen": rank} for rank in range(world.size)]
        folder = world.out / f"steps-{use_dcp}"
        how = {"save_full_model": use_dcp, "use_dcp": use_dcp}
        place = Manager.save_sharded_checkpoint(
            str(folder), 400, model, ema, optimizer, schedule(optimizer, 7), data, None, **how
        )
        assert [path.name for path in folder.iterdir()] == ["0000400"] == [Path(place).name]
        assert json.loads((Path(place) / "metadata.json").read_text())["world_size"] == world.size
        assert (Path(place) / ("model_sharded/.metadata" if use_dcp else f"model_rank{world.size - 1:05d}.pt")).exists()
        assert Manager.detect_checkpoint_format(place) == "sharded"
        new, new_ema = live.fsdp2(mesh, seed=5), live.fsdp2(mesh, seed=6)
        new_optimizer = torch.optim.AdamW(new.parameters(), lr=1.0, foreach=False)
        new_schedule = schedule(new_optimizer)
        loaded = Manager.load_sharded_checkpoint(place, new, new_ema, new_optimizer, new_schedule)
        assert loaded.train_steps == 401 and loaded.data_status == {"seen": world.rank}
        assert live.local_digest(new) == live.local_digest(model) and live.local_digest(new_ema) == live.local_digest(
            ema
        )
        assert new_schedule.last_epoch == 7
        state, wanted = new_optimizer.state_dict()["state"], optimizer.state_dict()["state"]
        assert all(torch.equal(local(state[n][key]), local(wanted[n][key])) for n in wanted for key in wanted[n])
        untouched = live.fsdp2(mesh, seed=6)
        before = live.local_digest(untouched)
        Manager.load_sharded_checkpoint(place, untouched, new_ema, load_model=False)
        assert live.local_digest(untouched) == before
        if use_dcp:
            flat = live.fsdp2(mesh, seed=5)
            dcp.load(flat_state := flat.state_dict(), checkpoint_id=f"{place}/model_sharded")
            assert flat_state and live.local_digest(flat) == live.local_digest(model)
        if world.rank == 0:
            report = ckpt_core.verify(place, depth="bytes").report
            assert not [f for f in report.findings if f.severity.name == "ERROR"], report.findings


@case
def manager_tells_the_truth(world):
    from ckpt_fsdp import ShardedCheckpointManager as Manager

    mesh = world.mesh
    model, ema = live.fsdp2(mesh), live.fsdp2(mesh, seed=9)
    optimizer = live.adamw(model)
    place = Manager.save_sharded_checkpoint(str(world.out / "plain"), 3, model, None, optimizer)
    raised(OverwriteError, Manager.save_sharded_checkpoint, str(world.out / "plain"), 3, model, None, optimizer)
    before = live.local_digest(model), live.local_digest(ema)
    load = Manager.load_sharded_checkpoint
    assert "load_ema=False" in str(raised(IncompleteError, load, place, model, ema))
    raised(IncompleteError, load, place, model, None, optimizer, schedule(optimizer))
    raised(UsageError, load, place, model, load_ema=True)
    raised(CheckpointNotFoundError, load, str(world.out / "nowhere"), model)
    raised(LoadRefusedError, load, place, live.of_tensors({"0": torch.zeros(8, 8)}, mesh))
    hf = str(world.out / "hf")
    assert "load_ema_from_main=True" in str(raised(IncompleteError, Manager.load_hf_checkpoint, hf, model, ema))
    raised(CheckpointNotFoundError, Manager.load_hf_checkpoint, str(world.out / "nowhere"), model)
    assert before == (live.local_digest(model), live.local_digest(ema)), "a refused load changed something"
    Manager.load_hf_checkpoint(hf, model, ema, load_ema_from_main=True)
    same(model, world.wanted())
    same(ema, world.wanted())

    class Failing:
        def state_dict(self):
            raise CorruptError("the schedule is broken")

    again = (str(world.out / "plain"), 4, model, None, optimizer)
    raised(CorruptError, Manager.save_sharded_checkpoint, *again, Failing() if world.rank == 0 else schedule(optimizer))
    assert sorted(path.name for path in (world.out / "plain").iterdir()) == ["0000003"]


@case
def manager_detects(world):
    from ckpt_fsdp import ShardedCheckpointManager as Manager

    if world.rank == 0:
        only, full = world.out / "only config", world.out / "upstream" / "0000007"
        only.mkdir()
        full.mkdir(parents=True)
        (only / "config.json").write_text("{}")
        save_file(world.wanted(), full / "model.safetensors")
        save_file(world.wanted(4, "ema"), full / "ema.safetensors")
        torch.save([{}] * 4, full / "data_status.pt")
    dist.barrier()
    found = {
        name: Manager.detect_checkpoint_format(str(world.out / name))
        for name in ("hf", "only config", "upstream/0000007", "dcp-4", "model.safetensors")
    }
    assert found == {
        "hf": "huggingface",
        "only config": "unknown",
        "upstream/0000007": "huggingface",
        "dcp-4": "unknown",
        "model.safetensors": "huggingface",
    }, found
    raised(CheckpointNotFoundError, Manager.detect_checkpoint_format, str(world.out / "nowhere"))
    model, ema = live.fsdp2(world.mesh, seed=5), live.fsdp2(world.mesh, seed=5)
    for load in (Manager.load_sharded_checkpoint, Manager.load_hf_checkpoint):
        load(str(world.out / "upstream/0000007"), model, ema)
        same(model, world.wanted())
        same(ema, world.wanted(4, "ema"))


def main(out, *chosen):
    dist.init_process_group("gloo")
    world = World(Path(out))
    if chosen[:1] == ("--saved",):
        world.copy(Path(chosen[1]))
        chosen = chosen[2:]
    else:
        for ranks in (1, 2, 4):
            world.save(ranks)
        world.files()
    outcomes = {}
    for name in chosen or CASES:
        error, began = None, time.perf_counter()
        try:
            CASES[name](world)
        except Exception:
            error = traceback.format_exc()
            print(error, file=sys.stderr, flush=True)
        outcomes[name] = live.every(error)
        if world.rank == 0:
            print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)
        if world.rank == 0:
            (world.out / "outcomes.json").write_text(json.dumps(outcomes))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])

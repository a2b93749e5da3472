"""Run under torchrun: a small sharded training, saved, stopped and gone on with; `FOLDER MODE`, findings as JSON."""

import copy
import errno
import json
import os
import signal
import sys

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions
from torch.distributed.fsdp import fully_shard

from ckpt_core import CkptError
from ckpt_core.training import Checkpointer, KeyedLoader

FOLDER, MODE = sys.argv[1:]
STEPS = 6


class Numbers:
    def __len__(self):
        return 48

    def __getitem__(self, index):
        return torch.full((16,), index / 48) + torch.rand(16) / 8


def sharded(model):
    for layer in model:
        if isinstance(layer, torch.nn.Linear):
            fully_shard(layer)
    return fully_shard(model)


class Training:
    """Fresh objects with other weights in each, so that a resume has all to restore."""

    def __init__(self, run, seed=0, **options):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(torch.nn.Linear(16, 33), torch.nn.Dropout(0.2), torch.nn.Linear(33, 5))
        self.ema = sharded(copy.deepcopy(net))
        self.model = sharded(net)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, 0.5)
        rank, world = dist.get_rank(), dist.get_world_size()
        self.loader = KeyedLoader(Numbers(), 12, seed=7, rank=rank, world=world)
        self.seen = []
        self.losses = []
        self.checkpointer = Checkpointer(
            os.path.join(FOLDER, run),
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            ema=self.ema,
            loader=self.loader,
            format="dcp",
            **options,
        )

    def run(self, first, last, begin=None):
        """Train from a step to another, and save behind it as `after_step` says."""
        torch.manual_seed(1000 + dist.get_rank() if begin is None else begin)
        self.go_on(first, last)

    def go_on(self, first, last):
        step = first
        while step < last:
            for batch in self.loader:
                loss = self.model(batch).square().mean()
                loss.backward()
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
                with torch.no_grad():
                    for mean, own in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                        mean.lerp_(own, 0.1)
                step += 1
                self.losses.append(loss.item())
                self.seen += [round(value, 3) for value in batch[:, 0].tolist()]
                self.checkpointer.after_step(step, metrics={"loss": loss.item()})
                if step == last:
                    return

    def state(self):
        """Everything of this rank, as plain numbers."""
        parts = {"model": self.model.state_dict(), "ema": self.ema.state_dict()}
        moments = self.optimizer.state_dict()["state"]
        parts |= {str(number): dict(one) for number, one in moments.items()}
        return {f"{label}.{name}": _whole(one).tolist() for label, part in parts.items() for name, one in part.items()}


def _whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def same_world():
    """Stopped behind step 3 and gone on with by fresh objects: as if it had not been."""
    whole = Training("whole")
    with whole.checkpointer:
        whole.run(0, STEPS)
        whole.checkpointer.save(STEPS)
    stopped = Training("stopped", save_every=3, background=True)
    with stopped.checkpointer:
        stopped.run(0, 3)
    again = Training("stopped", seed=9)
    with again.checkpointer:
        resumed = again.checkpointer.resume("required")
        again.go_on(resumed.step, STEPS)
    return {
        "step": resumed.step,
        "restored": sorted(resumed.restored),
        "losses": stopped.losses + again.losses == whole.losses,
        "seen": stopped.seen + again.seen == whole.seen,
        "state": again.state() == whole.state(),
    }


def in_background():
    """Twenty saves, with the weights overwritten right after each: each has its own step, and holds up no rank."""
    one, told, last = Training("background", background=True), torch.zeros(1), dist.get_world_size() - 1
    with one.checkpointer:
        for step in range(20):
            with torch.no_grad():
                for tensor in (*one.model.parameters(), *one.ema.parameters()):
                    tensor.fill_(step)
            if step == 7 and dist.get_rank() == last:
                dist.recv(told, 0)  # rank 0 goes on before this one has come to the save
            one.checkpointer.save(step)
            if step == 7 and dist.get_rank() == 0:
                dist.send(told, last)
        one.checkpointer.wait()
    return True


def preempted():
    """A signal at one rank ends all behind the same step, which is saved."""
    one, ended = Training("preempted", preemption=True), None
    with one.checkpointer:
        one.run(0, 2)
        if dist.get_rank() == dist.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        try:
            one.go_on(2, 40)
        except SystemExit as error:
            ended = error.code
    return [ended, len(one.losses)]


def failing():
    """What one rank fails with is raised by all; the step before stays, and the next save is done."""
    one, said = Training("failing"), []
    with one.checkpointer:
        one.run(0, 1)
        one.checkpointer.save(1)
        one.go_on(1, 2)
        for problem in (full_disk, not_finite, other_step):
            try:
                problem(one)
            except CkptError as error:
                said.append(f"{type(error).__name__}: {error.message}")
        left = sorted(os.listdir(os.path.join(FOLDER, "failing")))
        dist.barrier()
        one.checkpointer.save(2)
    dist.barrier()
    return {"said": said, "left": left, "then": sorted(os.listdir(os.path.join(FOLDER, "failing")))}


def full_disk(one):
    write = os.pwrite

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.pwrite = full if dist.get_rank() == 1 else write
    try:
        one.checkpointer.save(2)
    finally:
        os.pwrite = write


def not_finite(one):
    weight = next(iter(one.model.parameters())).to_local()
    before = weight.detach().clone()
    with torch.no_grad():
        weight += float("nan") if dist.get_rank() == 1 else 0
    try:
        one.checkpointer.save(2)
    finally:
        with torch.no_grad():
            weight.copy_(before)


def other_step(one):
    one.checkpointer.save(2 + (dist.get_rank() == 1))


def refused():
    """What several ranks cannot do, said when the Checkpointer is made."""
    found = []
    formats = [{"format": name} for name in ("bundle", "training-state", "hf")]
    for options in (*formats, {"loader": KeyedLoader(Numbers(), 12, seed=7)}):
        try:
            Checkpointer(os.path.join(FOLDER, "no"), **{"model": torch.nn.Linear(2, 2), "format": "dcp", **options})
        except CkptError as error:
            found.append(error.message)
    return [*found, os.path.exists(os.path.join(FOLDER, "no"))]


def optioned():
    """Each of FSDP's state-dict options: saved before and behind steps, and gone on with as without it."""
    found = {}
    for name in ("cpu_offload", "full_state_dict", "flatten_optimizer_state_dict"):
        options = StateDictOptions(**{"cpu_offload": name != "flatten_optimizer_state_dict", name: True})
        one = Training(name, state_dict_options=options, background=name == "full_state_dict")
        with one.checkpointer:
            one.checkpointer.save(0)
            fresh = not one.optimizer.state
            one.run(0, 2)
            one.checkpointer.save(2)
            one.checkpointer.wait()
        again = Training(name, seed=9)
        with again.checkpointer:
            again.checkpointer.resume("required")
            same = again.state() == one.state()
        place = os.path.join(FOLDER, name, "checkpoint-2")
        found[name] = [fresh, same, *(os.path.getsize(os.path.join(place, f"__{rank}_0.distcp")) for rank in (0, 1))]
    try:
        Training("no", state_dict_options=StateDictOptions(ignore_frozen_params=True))
    except CkptError as error:
        found["refused"] = error.message
    return found


def other_world():
    """Fewer or more ranks go on from what was saved: the same numbers, and the same samples."""
    again = Training("stopped", seed=9)
    with again.checkpointer:
        plan = again.checkpointer.plan("required")
        resumed = again.checkpointer.resume("required")
        state = again.state()
        again.go_on(resumed.step, STEPS)
    return {
        "step": resumed.step,
        "state": state,
        "seen": again.seen,
        "plan": plan.table(),
        "said": resumed.summary(),
        "losses": again.losses,
    }


def saved():
    """The state and the samples of the run that stopped, for other numbers of ranks to compare with."""
    one = Training("stopped", seed=9)
    with one.checkpointer:
        one.checkpointer.resume("required")
        state = one.state()
        one.go_on(3, STEPS)
    return {"state": state, "seen": one.seen, "losses": one.losses}


CHECKS = {"first": (same_world, saved, in_background, preempted, failing, refused, optioned), "then": (other_world,)}


def main():
    dist.init_process_group("gloo")
    found = {check.__name__: check() for check in CHECKS[MODE]}
    with open(os.path.join(FOLDER, f"{MODE}-{dist.get_rank()}.json"), "w") as file:
        json.dump(found, file)
    dist.destroy_process_group()


main()

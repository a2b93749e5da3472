"""Training: a save, how long it holds up the loop, many small tensors, and a resume. `python -m benchmarks.training`.

The state is that of a model of so many layers of 64 MiB and of its AdamW. Every save has a folder of its own, and the
one that is timed is the second: what is made once was made by the first. What is timed of a save in the background is
the call; the one before it has ended.
"""

import sys
import tempfile

from benchmarks.timing import ROUNDS, measure, report

_STATE = """
import gc, shutil, torch
import torch.distributed.checkpoint as dcp
import safetensors.torch as st
from ckpt_core.training import Checkpointer
import logging; logging.disable(logging.WARNING)
import warnings; warnings.simplefilter("ignore")
f = {folder!r} + "/out"
shutil.rmtree(f, ignore_errors=True); os.mkdir(f)
torch.manual_seed({seed})
def made():
    model = torch.nn.Sequential(*[torch.nn.Linear(4096, 4096, bias=False) for _ in range({layers})])
    optimizer = torch.optim.AdamW(model.parameters())
    return model, optimizer
def filled():
    model, optimizer = made()
    for p in model.parameters():
        optimizer.state[p] = dict(step=torch.tensor(1.0), exp_avg=torch.randn_like(p), exp_avg_sq=torch.rand_like(p))
    return model, optimizer
def sync(path):
    d = os.open(path, os.O_RDONLY); os.fsync(d); os.close(d)
def flat(model, optimizer):
    return {{**model.state_dict(), **{{f"{{i}}.{{k}}": t for i, s in optimizer.state_dict()["state"].items() for k, t in s.items()}}}}
def settle():
    os.sync(); gc.collect()
"""

_OURS = """
saver = Checkpointer(f + "/run", model=model, optimizer=optimizer, background={background})
saver.save(1); saver.wait()
"""
_ASYNC = """
def async_save(n):
    return dcp.async_save(dict(model=model.state_dict(), optimizer=optimizer.state_dict()["state"]), checkpoint_id=f"{f}/{n}")
"""
_SECOND = "model, optimizer = filled()\n{}settle()\n"

_SAVES = {
    "ours, proved, sealed, synced": (_OURS.format(background=False), "saver.save(2)"),
    "save_file + fsync": (
        "st.save_file(flat(model, optimizer), f + '/1')\n",
        "st.save_file(flat(model, optimizer), f + '/2'); sync(f + '/2')",
    ),
    "torch.save + fsync": (
        "both = lambda: dict(model=model.state_dict(), optimizer=optimizer.state_dict())\ntorch.save(both(), f + '/1')\n",
        "torch.save(both(), f + '/2'); sync(f + '/2')",
    ),
}
_BLOCKED = {
    "ours": (_OURS.format(background=True), "saver.save(2)"),
    "dcp.async_save": (_ASYNC + "async_save(1).result()\n", "after = async_save(2)"),
    "memcpy": (
        "tensors = list(flat(model, optimizer).values())\nheld = [torch.zeros_like(t) for t in tensors]\n",
        "for to, t in zip(held, tensors): to.copy_(t)",
    ),
}
_FIRST = {
    "ours": ("saver = Checkpointer(f + '/run', model=model, optimizer=optimizer, background=True)\n", "saver.save(1)"),
    "dcp.async_save": (_ASYNC, "after = async_save(1)"),
}
_SMALL = """
model = torch.nn.Module(); model.p = torch.nn.ParameterList([torch.randn(64) for _ in range(20000)]); optimizer = None
"""
_MANY = {
    "ours, proved, sealed, synced": (_OURS.format(background=False), "saver.save(2)"),
    "save_file": ("st.save_file(model.state_dict(), f + '/1')\n", "st.save_file(model.state_dict(), f + '/2')"),
    "torch.save": ("torch.save(model.state_dict(), f + '/1')\n", "torch.save(model.state_dict(), f + '/2')"),
}
_RESUMED = """
expected = torch.load({reference!r})
def check():
    for name, tensor in model.state_dict().items():
        assert tensor.equal(expected["model"][name])
    for number, fields in optimizer.state_dict()["state"].items():
        for name, tensor in fields.items():
            assert tensor.equal(expected["optimizer"]["state"][number][name])
model, optimizer = made()
"""
_EVERYTHING_IMPORTED = """
small = torch.nn.Linear(2, 2)
steps = torch.optim.AdamW(small.parameters())
small(torch.ones(2)).sum().backward(); steps.step()
with Checkpointer(f + "/small", model=small, optimizer=steps) as saver: saver.save(1)
with Checkpointer(f + "/small", model=small, optimizer=steps) as saver: saver.resume()
settle()
"""
_TORCH = """
held = torch.load({reference!r})
model.load_state_dict(held["model"]); optimizer.load_state_dict(held["optimizer"])
"""


def main(layers: int = 4) -> None:
    """Measure with a model of `layers` times 64 MiB."""
    with tempfile.TemporaryDirectory() as folder:
        state = _STATE.format(folder=folder, seed=0, layers=layers)
        _compare("save of a training", state, _SAVES, {"save_file + fsync": 0.6})
        _compare("blocked, second save", state, _BLOCKED, {"dcp.async_save": 0.4, "memcpy": 1.3})
        _compare("blocked, first save", state, _FIRST, {"dcp.async_save": 1.2})
        _compare("save of 20,000 small tensors", state, _MANY, {"save_file": 1.0}, filled=_SMALL)
        _resume(folder, layers)


def _compare(
    job: str, state: str, methods: dict[str, tuple[str, str]], goals: dict[str, float], *, filled: str = ""
) -> None:
    code = {name: timed for name, (_, timed) in methods.items()}
    setups = {name: state + (filled or "model, optimizer = filled()\n") + first for name, (first, _) in methods.items()}
    best = {}
    for _ in range(ROUNDS):
        for name in methods:
            found = measure(setups[name] + "settle()\n", {name: code[name]}, rounds=1)[name]
            best[name] = min(best.get(name, found), found, key=lambda one: one.seconds)
    ours, *peers = best
    seconds = {name: best[name].seconds for name in peers}
    report(job, best[ours].seconds, seconds, goals, anonymous={name: one.anonymous for name, one in best.items()})


def _resume(folder: str, layers: int) -> None:
    """Both are read from the page cache, and into a model that exists; each result is compared with what was saved."""
    reference = f"{folder}/reference.pt"
    state = _STATE.format(folder=folder, seed=0, layers=layers).replace("/out", "/kept")
    make = f"{state}model, optimizer = filled()\n{_OURS.format(background=False)}saver.close()\n"
    make += f"torch.save(dict(model=model.state_dict(), optimizer=optimizer.state_dict()), {reference!r})\n"
    measure(make, {"made": ""}, rounds=1)
    again = _STATE.format(folder=folder, seed=1, layers=layers) + _RESUMED.format(reference=reference)
    warm = f"for n in os.listdir('{folder}/kept/run/checkpoint-1'): open('{folder}/kept/run/checkpoint-1/' + n, 'rb').read()\n"
    ours = f"Checkpointer('{folder}/kept/run', model=model, optimizer=optimizer).resume()"
    done = measure(
        again + warm + _EVERYTHING_IMPORTED,
        {"ours": ours, "torch.load + load_state_dict": _TORCH.format(reference=reference)},
        prime=layers << 28,
    )
    peers = {name: result.seconds for name, result in done.items() if name != "ours"}
    memory = {name: result.anonymous for name, result in done.items()}
    goals = {"torch.load + load_state_dict": 0.6}
    report("resume, proved, warm", done["ours"].seconds, peers, goals, state_bytes=layers * 3 << 26, anonymous=memory)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

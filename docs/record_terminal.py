"""Records docs/terminal.md: each command typed at a terminal of its own, and what the terminal shows then.

`python -m docs.record_terminal` writes the page anew; tests/docs/test_terminal_page.py holds it to what is shown now.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tests.servers.fault_proxy import Exchange, fault_proxy
from tests.servers.faults import silent
from tests.servers.range_server import range_server
from tests.servers.terminal import at_a_terminal

PAGE = Path(__file__).with_name("terminal.md")
_INTRO = """# At the terminal

What a person types and sees, recorded by `docs/record_terminal.py` at terminals of 80 columns, the narrow one of 50. \
Colours are left out, and progress lines, which are wiped off when the work is done, but for the one that Ctrl-C met. \
An exit code other than 0 stands below its command. `weights.example` is a server of that machine.
"""


class Scene(NamedTuple):
    """A heading, the commands below it, and the width of their terminal."""

    title: str
    commands: Sequence[str]
    columns: int = 80


_PLACE = "http://weights.example"
"""What the page calls a server of this machine, by as many letters as its address has."""

STOPPED = Scene("Stopped, and gone on with", (f"ckpt copy {_PLACE}/large.safetensors here.safetensors",))

SCENES = (
    Scene("The first words", ("ckpt", "ckpt version", "ckpt inspct run", "ckpt inspect weights.pth --fromat torch")),
    Scene("What a checkpoint holds", ("ckpt inspect checkpoint-400", "ckpt inspect weights.pth --tensors")),
    Scene("Whether it is whole", ("ckpt verify weights.safetensors", "ckpt verify weights.safetensors --depth values")),
    Scene("What is wrong", ("ckpt verify cut.safetensors", "ckpt verify checkpoint-400 --for resume")),
    Scene(
        "Several at once",
        ("ckpt verify '[cw]*.safetensors'", "ckpt inspect -q weights.pth cut.safetensors"),
    ),
    Scene("What differs", ("ckpt diff weights.safetensors weights.pth", "ckpt diff weights.pth tuned.pth --limit 1")),
    Scene(
        "In another format",
        (
            "ckpt convert checkpoint-400 out --to hf",
            "ckpt verify out --certificate",
            "ckpt convert weights.pth out2",
            "ckpt convert weights.pth out2 --to safetensor",
        ),
    ),
    Scene("A word that is no file", ("ckpt inspect weihgts.pth", "ckpt inspect full_sft")),
    Scene("What a format adds", ("ckpt formats torch",)),
    Scene(
        "Results apart from the rest",
        (
            "ckpt inspect -q weights.pth cut.safetensors 2> complaints",
            "cat complaints",
            "ckpt inspect weights.pth --json | python -m json.tool | head -n 4",
        ),
    ),
    Scene(
        "In Python",
        (
            "python -c 'import ckpt_core as ck; print(ck.inspect(\"checkpoint-400\"))'",
            "python -c 'import ckpt_core as ck; print(ck.verify(\"cut.safetensors\"))'",
        ),
    ),
    STOPPED,
    Scene("A narrow terminal", ("ckpt verify cut.safetensors", "ckpt inspect ./nowhere/at/all.pth"), 50),
)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page as it would be recorded now."""
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder))
        return "\n".join([_INTRO, *(recorded(scene, folder) for scene in SCENES)])


def lay_out(folder: Path) -> None:
    """Write the small checkpoints that the commands are about."""
    import torch
    from safetensors.torch import save_file

    weights = {"embed.weight": torch.arange(12.0).reshape(3, 4), "norm.weight": torch.ones(4, dtype=torch.bfloat16)}
    save_file(weights, folder / "weights.safetensors")
    torch.save(weights, folder / "weights.pth")
    torch.save({name: tensor + 1 for name, tensor in weights.items()} | {"extra": torch.zeros(2)}, folder / "tuned.pth")
    save_file(
        {f"layers.{n}.weight": torch.full((1024, 2048), float(n)) for n in range(8)}, folder / "large.safetensors"
    )
    (folder / "cut.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-3])
    _lay_out_trainer(folder / "checkpoint-400")


def _lay_out_trainer(folder: Path) -> None:
    """Write the files that transformers' Trainer keeps of step 400, but for its random states."""
    import json

    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    torch.save({"last_epoch": 400, "base_lrs": [5e-5], "_last_lr": [2.5e-5]}, folder / "scheduler.pt")
    log = [{"loss": 2.5, "step": 200}, {"loss": 1.75, "step": 400}, {"eval_loss": 1.5, "step": 400}]
    state = {"epoch": 2.0, "global_step": 400, "best_metric": 1.5, "log_history": log, "max_steps": 800}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", "architectures": ["Toy"]}))


def recorded(scene: Scene, folder: str) -> str:
    """Return a scene's part of the page, recorded in a folder."""
    parts = [f"## {scene.title}"]
    for command, code, shown in _stopped(folder) if scene is STOPPED else _played(scene, folder):
        parts.append(f"```console\n$ {command}\n{shown.strip(chr(10))}\n```")
        parts += [f"Exit code {code}."] if code else []
    return "\n\n".join(parts) + "\n"


def _played(scene: Scene, folder: str) -> Iterator[tuple[str, int, str]]:
    for command in scene.commands:
        yield command, *_typed(command, folder, scene.columns)


def _stopped(folder: str) -> Iterator[tuple[str, int, str]]:
    """Play the scene of a copy that is stopped at its half, where its server falls silent, and goes on later."""
    with range_server(Path(folder)) as server, fault_proxy(server.url) as proxy:
        command = STOPPED.commands[0].replace(_PLACE, proxy.url)
        half = _Half()
        proxy.rule(half, last=None)
        for until in (lambda _: half.is_silent, None):
            code, shown = _typed(command, folder, STOPPED.columns, until)
            proxy.clear()
            yield STOPPED.commands[0], code, shown.replace(proxy.url, _PLACE)


class _Half:
    """What a server does that gives four long ranges, and says no more when it is asked for others."""

    def __init__(self) -> None:
        self._given, self._held = count(1), count(1)
        self.is_silent = False

    def __call__(self, exchange: Exchange) -> None:
        start, end = [*map(int, re.findall(r"\d+", exchange.headers.get("Range", ""))), 0, 0][:2]
        if end - start < 1 << 20 or next(self._given) <= 4:
            exchange.pass_on()
        else:
            self.is_silent = next(self._held) == 4  # as many as are asked for at once
            silent(exchange)


def steady(text: str) -> str:
    """Return a page without what no two recordings share: how far and how fast something was."""
    return re.sub(r"\d+ % of (\S+ \S+),.*?\^C", r"… % of \1 …^C", text)


def _typed(command: str, folder: str, columns: int, until: "Callable[[str], bool] | None" = None) -> tuple[int, str]:
    """Run a command at a terminal of its own; return its exit code and what is left to see.

    Ctrl-C is typed once `until` says so.
    """
    dropped = ("COLUMNS", "LINES", "NO_COLOR", "OUT_DIR", "MODEL_HIDDEN_SIZE", "USE_MOE")
    env = {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("MINILLM_")}
    env |= {"TERM": "xterm", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    code, shown = at_a_terminal(["sh", "-c", command], env=env, cwd=folder, columns=columns, until=until)
    code = code if code >= 0 else 128 - code  # as a shell says it of a command that a signal ended
    return code, _seen(shown).replace(os.path.realpath(folder), "/home/you")


def _seen(shown: str) -> str:
    """Return what is left on the screen: without colours, and without lines that were wiped off."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.replace("\r\n", "\n"))
    lines = ("\n".join(_left(re.split(r"\r?\x1b\[K|\r", line))).rstrip() for line in plain.split("\n"))
    return "\n".join(lines)


def _left(drawn: Sequence[str]) -> Iterator[str]:
    """Yield what is left of a line that was drawn over, and before that where Ctrl-C met it."""
    yield from (f"{one.partition('^C')[0]}^C" for one in drawn[:-1] if "^C" in one)
    yield drawn[-1]


if __name__ == "__main__":
    main()

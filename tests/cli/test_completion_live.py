"""A Tab in a live shell: bash, and zsh and fish where they are installed, at a terminal of their own."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from time import monotonic

import pytest

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(ckpt completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u; eval "$(ckpt completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "ckpt completion fish | source"),
}
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal that of the session, without which fish does not begin."""

PATIENCE = 40
"""Seconds for one answer, on a machine that has much else to do."""


class Shell:
    """A shell at a terminal; what it shows is read until it has what is waited for."""

    def __init__(self, name, folder):
        command, teach = SHELLS[name]
        tools = folder / ".tools"
        tools.mkdir()
        code = "import sys; from ckpt_core.cli.main import main; sys.exit(main())"
        (tools / "ckpt").write_text(f"#!/bin/sh\nexec '{sys.executable}' -c '{code}' \"$@\"\n")
        (tools / "ckpt").chmod(0o755)
        env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PS1": "> ", "TERM": "xterm", "HOME": str(tools)}
        self.terminal, end = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            stdin=end,
            stdout=end,
            stderr=end,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
        os.close(end)
        self.type(f"{teach}; echo tau''ght\r")
        self.wait_for("taught")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait_for(self, text):
        shown, until = "", monotonic() + PATIENCE
        arriving = select.poll()  # select takes no descriptor above 1023
        arriving.register(self.terminal, select.POLLIN)
        while text not in shown:
            if not arriving.poll(max(until - monotonic(), 0) * 1000):
                raise AssertionError(f"no {text!r} in {shown!r}")
            shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(self.terminal, 1 << 16).decode(errors="replace"))
        return shown

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"{name} is not here"))
        for name in SHELLS
    ]
)
def shell(request, tmp_path, files):
    (tmp_path / "runs_of_may").mkdir()
    shutil.copy(files / "training.pth", tmp_path / "training.pth")
    running = Shell(request.param, tmp_path)
    yield running
    running.close()


def test_a_tab_completes_files_folders_stages_formats_types_and_components(shell):
    for typed, completed in (
        ("ckpt insp\t", "ckpt inspect "),
        ("train\t", "training.pth"),
        ("--comp\t", "--component "),
        ("opti\t", "optimizer"),
        ("\x15ckpt verify runs_o\t", "runs_of_may/"),
        ("\x15ckpt convert training.pth out --to safet\t", "safetensors"),
        ("--dtype bfl\t", "bfloat16"),
        ("\x15ckpt inspect full_d\t", "full_dist"),
        ("\x15ckpt inspect a --format hf-t\t", "hf-trainer"),
    ):
        shell.type(typed)
        shell.wait_for(completed[len(typed.rpartition(" ")[2].strip("\t\x15")) :].strip() or completed)

"""A signal is seen at the next step; a second one ends at once; the lock of a run is not inherited."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ckpt_core.errors import LockedError
from ckpt_core.training import state_dict
from ckpt_core.training.preemption import Preemption
from ckpt_core.training.run_lock import holding
from tests.training.small_training import checkpointer, training


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_within_a_step_saves_after_it_and_ends(tmp_path, number, code):
    made = training()
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(SystemExit) as ended, checkpointer(tmp_path / "run", made, preemption=True) as saver:
        made.run(2, saver)
        os.kill(os.getpid(), number)
        assert not (tmp_path / "run" / "checkpoint-3").exists()
        made.run(9, saver)
    assert ended.value.code == code
    assert made.step == 3
    assert state_dict(tmp_path / "run" / "checkpoint-3", "progress")["global_step"] == 3
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_what_is_saved_already_is_not_saved_again(tmp_path):
    made = training()
    with pytest.raises(SystemExit), checkpointer(tmp_path / "run", made, preemption=True) as saver:
        saver.save(1)
        written = (tmp_path / "run" / "checkpoint-1").stat().st_ino
        os.kill(os.getpid(), signal.SIGTERM)
        saver.after_step(1)
    assert (tmp_path / "run" / "checkpoint-1").stat().st_ino == written


SECOND = """
import os, signal, sys
from ckpt_core.training.preemption import Preemption
wish = Preemption()
with wish.listening():
    os.kill(os.getpid(), signal.SIGUSR1)
    assert wish.signal == signal.SIGUSR1
    print("asked", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
"""


def test_a_second_signal_ends_at_once():
    done = subprocess.run([sys.executable, "-c", SECOND], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (143, "asked\n")


def test_a_signal_to_a_forked_process_ends_that_one_alone():
    wish = Preemption()
    reading, writing = os.pipe()
    with wish.listening():
        child = os.fork()
        if child == 0:
            os.write(writing, b"ready")
            time.sleep(30)
            os._exit(0)
        os.read(reading, 5)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    os.close(reading), os.close(writing)
    assert os.waitstatus_to_exitcode(status) == 143
    assert wish.signal is None


HOLDER = """
import os, sys, time
from ckpt_core.training.run_lock import holding
with holding(sys.argv[1]):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""


def test_a_killed_training_leaves_no_lock_in_the_hands_of_its_workers(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(LockedError, match="another training is running there"), holding(str(tmp_path)):
                pass
            holder.kill()
            holder.wait()
            os.kill(worker, 0)
            with holding(str(tmp_path)):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)

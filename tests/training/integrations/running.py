"""Jobs of a script of trainings, run in one process that imports what they train with once."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def runs_of(script):
    """What runs the jobs of a script, and gives their answers."""

    def runs(folder, jobs):
        command = [sys.executable, "-W", "ignore", str(script), str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return runs

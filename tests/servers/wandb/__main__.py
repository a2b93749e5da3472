"""The test double in a process of its own: `python -m tests.servers.wandb FOLDER [PORT]` prints where it listens."""

import signal
import sys
from pathlib import Path

from tests.servers.wandb.server import KEY, WandbServer

if __name__ == "__main__":
    server = WandbServer(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(f"WANDB_BASE_URL={server.url} WANDB_API_KEY={KEY}", flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.stop()

"""Live ranks load what other ranks, or none, have saved: each case of makers/live_load.py, in one start of torchrun."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import ckpt_core
from ckpt_core.storage.objects.open_store import open_store
from tests.servers.fault_proxy import fault_proxy

SCRIPT = Path(__file__).parents[1] / "makers" / "live_load.py"
CASES = [line.split("(")[0].removeprefix("def ") for line in SCRIPT.read_text().split("@case\n")[1:]]


@pytest.fixture(scope="session")
def outcomes(made):
    return json.loads((made("live_load.py", 4) / "outcomes.json").read_text())


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("case", CASES)
def test_live_ranks_load(outcomes, case):
    failed = {rank: error for rank, error in enumerate(outcomes[case]) if error}
    assert not failed, "\n".join(f"rank {rank}: {error}" for rank, error in failed.items())


@pytest.mark.long
@pytest.mark.parametrize("ranks", [2, 3])
def test_worlds_of_other_sizes_load_what_four_ranks_saved(made, torchrun, outcomes, tmp_path, ranks):
    torchrun("live_load.py", ranks, tmp_path, "--saved", made("live_load.py", 4))
    found = json.loads((tmp_path / "outcomes.json").read_text())
    failed = {case: next(filter(None, errors)) for case, errors in found.items() if any(errors)}
    assert set(found) == set(outcomes) and not failed, "\n".join(map("{0[0]}: {0[1]}".format, failed.items()))


@pytest.mark.long
def test_live_ranks_load_from_a_store_and_replicas_share_one_read(made, torchrun, outcomes, s3, monkeypatch, tmp_path):
    saved = made("live_load.py", 4)
    for name in ("dcp-2", "hf"):
        ckpt_core.copy(saved / name, f"{s3.url}/{name}")
    for key, value in s3.env.items():
        monkeypatch.setenv(key, value)
    torchrun("live_store.py", 4, tmp_path, s3.url, saved)
    said = json.loads((tmp_path / "said.json").read_text())
    for name in ("dcp-2", "hf"):
        once = sum(said[f"{name}, copies"][0])
        assert "sent on" in said[f"{name}, copies"][1] and f"{once} bytes, not {4 * once}" in said[f"{name}, copies"][1]
        assert sum(said[f"{name}, replicas"][0]) == once
    assert said["optimizer"][0] == [1.0]


@pytest.mark.long
def test_each_rank_reads_its_share_of_a_store_and_hardly_more(made, torchrun, outcomes, s3, tmp_path):
    saved = made("live_load.py", 4)
    store, root = open_store(s3.url)
    large = [path for name in ("big", "big-dcp") for path in sorted((saved / name).iterdir())]
    for path in large:
        store.put(f"{root}/{path.parent.name}/{path.name}", path.read_bytes())
    with ExitStack() as stack:
        proxies = [stack.enter_context(fault_proxy(s3.env["AWS_ENDPOINT_URL_S3"])) for _ in range(3)]
        torchrun("live_share.py", 3, tmp_path, s3.url, *(proxy.url for proxy in proxies))
        read = [[proxy.received("GET", f"/{name}/") for name in ("big", "big-dcp")] for proxy in proxies]
    for rank, counted in enumerate(read):
        said = json.loads((tmp_path / f"rank-{rank}.json").read_text())
        for (share, *sums), nbytes in zip(said.values(), counted, strict=True):
            assert share == 6 * 4 * (1 << 12) * (1 << 8)
            assert share <= nbytes <= 1.02 * share, (rank, nbytes / share)
            assert all(sums)


@pytest.mark.long
def test_ranks_of_two_agents_load_as_those_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "2"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}", "--rdzv_id", "two"]
    command += [str(SCRIPT), str(tmp_path), "resharded", "resharded_optimizers", "other_meshes", "damage"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    agents = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(agent.communicate(timeout=280)[1], agent.returncode) for agent in agents]
    assert [code for _, code in ended] == [0, 0], ended[0][0][-3000:]
    assert not any(any(errors) for errors in json.loads((tmp_path / "outcomes.json").read_text()).values())

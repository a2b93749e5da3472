"""Inspecting a checkpoint of ten gigabytes on a server takes its headers: few requests, and few bytes."""

import json
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ckpt_core.cli.main import main
from tests.servers.fault_proxy import fault_proxy
from tests.servers.range_server import range_server

ROOT = Path(__file__).parents[3]

TENSORS, ROWS, COLUMNS = 400, 2048, 3200
NBYTES = ROWS * COLUMNS * 4
"""400 tensors of 26 MB: 10.5 GB, in files that are nearly all holes."""


def write_safetensors(path, names):
    header = {
        name: {"dtype": "F32", "shape": [ROWS, COLUMNS], "data_offsets": [at * NBYTES, (at + 1) * NBYTES]}
        for at, name in enumerate(names)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + len(names) * NBYTES)


NAMES = [f"model.layers.{number // 10}.part{number % 10}.weight" for number in range(TENSORS)]


def safetensors(folder):
    write_safetensors(folder / "model.safetensors", NAMES)
    return "model.safetensors"


def pth(folder):
    torch = pytest.importorskip("torch")
    weights = {name: torch.empty(ROWS, COLUMNS) for name in NAMES}  # memory that nobody touches
    with warnings.catch_warnings(), torch.serialization.skip_data():
        warnings.simplefilter("ignore")
        torch.save(weights, folder / "model.pth")
    return "model.pth"


def hf(folder):
    place = folder / "hf"
    place.mkdir()
    index = {}
    for shard in range(4):
        file = f"model-0000{shard + 1}-of-00004.safetensors"
        held = NAMES[shard * TENSORS // 4 : (shard + 1) * TENSORS // 4]
        write_safetensors(place / file, held)
        index |= dict.fromkeys(held, file)
    text = json.dumps({"metadata": {"total_size": TENSORS * NBYTES}, "weight_map": index})
    (place / "model.safetensors.index.json").write_text(text)
    (place / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (place / "generation_config.json").write_text("{}")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (place / name).write_text("{}")
    return "hf"


def dcp(folder):
    command = [sys.executable, "-m", "benchmarks.dcp_directory", str(folder / "dcp"), "4", "200"]  # of 52 MB each
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    return "dcp"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that is a bucket, and a proxy that counts."""
    (tmp_path / "ckpt").mkdir()
    with range_server(tmp_path) as server, fault_proxy(server.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        if "s3fs" in sys.modules:
            sys.modules["s3fs"].S3FileSystem.clear_instance_cache()
        yield tmp_path / "ckpt", proxy


PLACES = [("s3", safetensors), ("s3", pth), ("s3", hf), ("s3", dcp), ("http", safetensors), ("http", pth)]


@pytest.mark.parametrize(("scheme", "make"), PLACES)
def test_inspect_reads_headers_only(served, scheme, make, capsys):
    folder, proxy = served
    name = make(folder)
    url = f"s3://ckpt/{name}" if scheme == "s3" else f"{proxy.url}/ckpt/{name}"
    assert main(["inspect", url, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sum(one["bytes"] for one in said["result"]["components"]) > 10_000_000_000
    assert len(proxy.log) < 12, [(one.method, one.path, one.headers.get("range")) for one in proxy.log]
    assert proxy.received() < 2_000_000

"""What reading from a store asks of it, counted at a proxy: no more than was asked for, and nothing twice."""

import json

import numpy as np
import pytest
import safetensors.numpy

import ckpt_core

MIB = 1 << 20


@pytest.fixture
def folder(faulty_s3, tmp_path):
    """A model directory of four shards of 4 MiB, in the store and on the disk; what was counted begins here."""
    draw = np.random.default_rng(0)
    names = [f"layers.{number}.weight" for number in range(16)]
    weights = {name: draw.standard_normal((512, 512)).astype(np.float32) for name in names}
    index = {}
    client = faulty_s3.filesystem
    for shard in range(4):
        file = f"model-0000{shard + 1}-of-00004.safetensors"
        held = {name: weights[name] for name in names[shard::4]}
        index.update(dict.fromkeys(held, file))
        client.pipe_file(f"{faulty_s3.url}/run/{file}", safetensors.numpy.save(held))
    client.pipe_file(f"{faulty_s3.url}/run/model.safetensors.index.json", json.dumps({"weight_map": index}).encode())
    client.pipe_file(f"{faulty_s3.url}/run/config.json", b'{"model_type": "llama"}')
    faulty_s3.proxy.clear()
    return f"{faulty_s3.url}/run", weights


def test_a_tensor_is_read_without_the_others(faulty_s3, folder):
    url, weights = folder
    checkpoint = ckpt_core.load(url)
    opened, requests = faulty_s3.proxy.received(), len(faulty_s3.proxy.log)
    assert opened < MIB
    assert requests <= 24, [(one.method, one.path) for one in faulty_s3.proxy.log]
    got = checkpoint.read("model", "layers.5.weight")
    assert bytes(got) == weights["layers.5.weight"].tobytes()
    assert faulty_s3.proxy.received() - opened <= MIB + 64 * 1024
    assert len(faulty_s3.proxy.log) - requests <= 4  # the seal is looked for with the first tensor


def test_a_box_of_a_tensor_is_read_without_the_rest(faulty_s3, folder):
    url, weights = folder
    checkpoint = ckpt_core.load(url)
    opened = faulty_s3.proxy.received()
    got = checkpoint.read("model", "layers.5.weight", box=((128, 0), (64, 512)))
    assert bytes(got) == weights["layers.5.weight"][128:192].tobytes()
    assert faulty_s3.proxy.received() - opened <= 64 * 512 * 4 + 64 * 1024


def test_a_resharded_conversion_reads_every_byte_once(faulty_s3, folder, tmp_path):
    url, weights = folder
    ckpt_core.convert(url, str(tmp_path / "two"), to="hf", options={"max_shard_size": "9MB"})
    size = sum(tensor.nbytes for tensor in weights.values())
    assert len(list((tmp_path / "two").glob("model-*.safetensors"))) == 2
    assert size <= faulty_s3.proxy.received() <= size + 2 * MIB
    assert len(faulty_s3.proxy.log) <= 48

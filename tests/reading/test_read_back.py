import numpy as np
import pytest

import ckpt_core
from ckpt_core import knobs
from ckpt_core.reading.digests import fingerprint
from ckpt_core.reading.read_back import read_back
from ckpt_core.storage.digests import BLOCK, block_digest
from ckpt_core.verbs.load import OWN_CHECKS, open_checkpoint
from ckpt_core.verbs.save import save

SIZES = [0, 1, 3, BLOCK // 4 - 1, BLOCK // 4, BLOCK // 4 + 1, BLOCK // 2 + 7, 5]


@pytest.fixture(scope="module", params=["m.safetensors", "m.pth"])
def path(request, tmp_path_factory):
    draw = np.random.default_rng(0)
    weights = {f"t{number}": draw.standard_normal(size).astype("f4") for number, size in enumerate(SIZES)}
    weights["tied"] = weights["t5"]
    weights["scalar"] = np.array(3.5)
    place = tmp_path_factory.mktemp("proof") / request.param
    save(weights, str(place))
    return place


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_one_pass_finds_the_digest_of_every_block_and_tensor(path, workers):
    with knobs.override(workers=workers):
        opened = ckpt_core.load(str(path))
        found = read_back(opened)
    data = path.read_bytes()
    blocks = [block_digest(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    assert found.files[path.name].blocks == b"".join(blocks)
    assert found.files[path.name].size == len(data)
    expected = fingerprint(opened, "model")
    assert found.by_component()["model"] == expected.tensors
    assert found.components() == {"model": expected.digest}


def test_the_same_weights_have_the_same_digests_in_every_format(tmp_path):
    weights = {"w": np.arange(300000, dtype="f4").reshape(300, 1000), "b": np.arange(5), "e": np.zeros((0, 3))}
    found = set()
    for name, how in (("m.safetensors", {}), ("m.pth", {}), ("d", {"format": "hf"})):
        save(weights, str(tmp_path / name), **how)
        found.add(read_back(ckpt_core.load(str(tmp_path / name))).components()["model"])
    assert len(found) == 1


def test_every_byte_of_a_file_counts(path, tmp_path):
    known = read_back(ckpt_core.load(str(path))).files[path.name]
    data = bytearray(path.read_bytes())
    copied = tmp_path / path.name
    for at in (len(data) // 3, len(data) // 2):
        data[at] ^= 1
        copied.write_bytes(data)
        data[at] ^= 1
        other = read_back(open_checkpoint(str(copied), checks=OWN_CHECKS)).files[path.name]
        changed = [n for n in range(0, len(known.blocks), 16) if known.blocks[n : n + 16] != other.blocks[n : n + 16]]
        assert changed == [at // BLOCK * 16]
        assert other.root != known.root

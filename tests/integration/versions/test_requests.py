"""What opening a version asks a store, and what it says of an object that the store has lost."""

import numpy as np
import pytest

import ckpt_core
from ckpt_core.errors import CorruptError
from ckpt_core.storage.versions.opening import open_version_store


def test_opening_asks_for_the_record_the_table_and_the_header(faulty_s3, tmp_path):
    path, store = tmp_path / "a.safetensors", f"{faulty_s3.url}/store"
    ckpt_core.save({"model": {f"w{number}": np.full(9000, number, "f4") for number in range(30)}}, path)
    ckpt_core.publish(path, store)
    faulty_s3.proxy.clear()
    opened = ckpt_core.load(f"{store}@v0")
    asked = [
        (one.method, one.path.partition("?")[0].rpartition("/store/")[2].partition("/")[0])
        for one in faulty_s3.proxy.log
    ]
    assert asked == [
        ("GET", "versions"),
        ("GET", "versions"),
        ("GET", "tables"),
        ("HEAD", "objects"),
        ("GET", "objects"),
    ]
    assert float(np.frombuffer(opened.read("model", "w7"), "f4")[0]) == 7
    place = open_version_store(store)
    place.store.delete([one.key for one in place.listed("objects/")])
    with pytest.raises(CorruptError, match="the store has lost this object"):
        ckpt_core.load(f"{store}@v0")
    assert {one.code for one in ckpt_core.verify_versions(store).findings} == {"VS001"}

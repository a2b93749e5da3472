"""How ranks that have the same come to it: by the bytes that a store, a mount or a disk is asked for."""

import numpy as np
import pytest

from ckpt_core.reading.torch.sharded.parts import LocalPart
from ckpt_core.reading.torch.sharded.replicas import Shared, asked_of
from ckpt_core.storage.files.mount_kinds import is_over_network
from ckpt_core.storage.listing import list_files
from ckpt_core.storage.ranks.ranks import Ranks
from ckpt_core.verbs.save import save
from tests.servers.bucket_mount import bucket_mount
from tests.servers.range_server import range_server

torch = pytest.importorskip("torch")
NBYTES = 4096


class OnMachines(Ranks):
    """This rank, and what ranks on other machines say when they are asked what it is."""

    def __init__(self, names):
        self.rank, self.world, self._names = 0, len(names), names

    def exchange(self, value):
        kind, _, *rest = value
        return [[kind, name, *rest] for name in self._names]


class Part(Shared):
    """A part that as many ranks have as there are."""

    replicas = 4


def asked(place, machines):
    part = Part(LocalPart(torch.zeros(NBYTES // 4)), (), ())
    return asked_of(list_files(str(place)), {0: part}, OnMachines(machines))


@pytest.fixture
def weights(tmp_path):
    save({"w": np.arange(4.0)}, str(tmp_path / "kept" / "w.safetensors"))
    return tmp_path / "kept"


@pytest.mark.parametrize("machines", ["aaaa", "aabb"])
def test_a_disk_of_each_machine_is_asked_for_the_same_either_way(weights, machines):
    found = asked(weights, machines)
    assert found[:2] == (NBYTES, NBYTES)
    assert found.said(False, 1).endswith(f"each machine's disk is asked for {NBYTES} bytes, either way")


@pytest.mark.parametrize(("machines", "times"), [("aaaa", 1), ("aabb", 2), ("abcd", 4)])
def test_a_mount_over_a_network_is_asked_once_by_each_machine(tmp_path, weights, machines, times):
    with bucket_mount(tmp_path / "mount", weights, kind="sshfs") as mount:
        found = asked(mount, machines)
        assert found[:2] == (NBYTES, times * NBYTES)
        assert f"not {times * NBYTES}" in found.said(True, 1) or times == 1


def test_a_store_is_asked_by_every_replica(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"some")
    with range_server(tmp_path) as server:
        found = asked(f"{server.url}/w.safetensors", "aaaa")
    assert found[:2] == (NBYTES, 4 * NBYTES)
    assert found.said(False, 1).endswith(
        f"the store is asked for {4 * NBYTES} bytes, and for {NBYTES} with a broadcast"
    )


def test_a_disk_and_memory_are_not_over_a_network():
    assert not any(map(is_over_network, ("ext4.sda1", "tmpfs.tmpfs", "overlay.overlay", "fuse.unionfs", "")))
    assert all(map(is_over_network, ("nfs4.host:/x", "lustre.x", "fuse.juicefs", "fuse.sshfs", "fuse.gcsfuse")))

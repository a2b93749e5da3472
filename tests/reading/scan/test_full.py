"""The walk: each consumer sees exactly its bytes in order, each block is told once, no failed read is lost."""

from threading import Lock

from hypothesis import given
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import CorruptError, knobs
from ckpt_core.reading.scan.check_all import sweep
from ckpt_core.reading.scan.full import UNIT, walk
from ckpt_core.storage.digests import BLOCK
from tests.reading.short_files import ShortFiles

SIZE = 3 * BLOCK + 12345
CONTENT = bytes(range(256)) * (SIZE // 256) + b"\x07" * (SIZE % 256)


class Seen:
    def __init__(self, start, end, path="x.bin"):
        self.path, self.start, self.end = path, start, end
        self.data = b""
        self.error = None

    def see(self, data):
        self.data += bytes(data)

    def fail(self, error):
        self.error = error


def listing(folder, *sizes):
    for number, size in enumerate(sizes):
        (folder / f"{'xyz'[number]}.bin").write_bytes(CONTENT[:size])
    return ckpt_core.list_files(str(folder))


spans = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(lambda pair: (min(pair), max(pair)))


@given(spans=st.lists(spans, max_size=8), workers=st.integers(1, 3), whole=st.booleans())
def test_each_consumer_sees_its_bytes_and_each_block_is_told_once(tmp_path_factory, spans, workers, whole):
    files = listing(tmp_path_factory.mktemp("walk"), SIZE)
    consumers = [Seen(*span) for span in spans]
    told, lock = {}, Lock()

    def on_block(path, number, data):
        with lock:
            assert (path, number) not in told
            told[path, number] = bytes(data)

    with knobs.override(workers=workers):
        assert walk(files, consumers, whole=["x.bin"] if whole else (), on_block=on_block) == []
    for consumer in consumers:
        assert consumer.data == CONTENT[consumer.start : consumer.end]
    expected = {("x.bin", n): CONTENT[n * BLOCK : (n + 1) * BLOCK] for n in range(4)} if whole else {}
    assert {key: value[:SIZE] for key, value in told.items()} == {
        k: v[: SIZE - k[1] * BLOCK] for k, v in expected.items()
    }


def test_a_consumer_that_crosses_the_runs_of_workers_is_served_whole(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"")
    with open(tmp_path / "x.bin", "r+b") as file:
        file.truncate(2 * UNIT + 5)
        file.seek(UNIT - 2)
        file.write(b"middle")
    files = ckpt_core.list_files(str(tmp_path))
    consumers = [Seen(UNIT - 2, UNIT + 4), Seen(2 * UNIT - 1, 2 * UNIT + 5), Seen(0, 3)]
    with knobs.override(workers=2):
        walk(files, consumers)
    assert [consumer.data for consumer in consumers] == [b"middle", bytes(6), bytes(3)]


def test_a_read_that_fails_is_told_to_those_who_wanted_the_bytes_and_else_returned(tmp_path):
    files = ShortFiles(listing(tmp_path, SIZE, 100))
    early, late = Seen(0, 10), Seen(2 * BLOCK, SIZE)
    assert walk(files, [early, late]) == []
    assert early.error is None and early.data == CONTENT[:10]
    assert isinstance(late.error, CorruptError) and late.data == b""
    errors = walk(files, [], whole=["x.bin", "y.bin"])
    assert len(errors) == 3 and all(isinstance(error, CorruptError) for error in errors)


def test_values_are_counted_also_where_a_number_lies_across_two_blocks(tmp_path):
    import torch

    values = torch.zeros(BLOCK // 2)
    for at in (0, BLOCK // 4 - 21, BLOCK // 4 - 20, BLOCK // 4 - 19, BLOCK // 2 - 1):
        values[at] = float("nan")
    torch.save({"w": values}, tmp_path / "w.pt")
    checkpoint = ckpt_core.load(str(tmp_path / "w.pt"))
    offset = checkpoint.component("model").tensors.info("w").offset
    found = [finding for finding in sweep(checkpoint, values=True) if finding.code == "VL001"]
    assert offset % BLOCK, "the tensor begins in the middle of a block"
    assert "5 of" in found[0].message


def test_what_is_sealed_and_summed_is_read_once(tmp_path, monkeypatch):
    import torch

    from ckpt_core.storage.files import local
    from ckpt_core.verbs.seal import seal

    torch.save({"w": torch.ones(3 * BLOCK // 4), "v": torch.ones(100)}, tmp_path / "w.pt")
    seal(str(tmp_path / "w.pt"))
    read = []
    original = local.LocalFiles.read_into

    def counted(self, path, offset, out):
        read.append(len(out))
        original(self, path, offset, out)

    monkeypatch.setattr(local.LocalFiles, "read_into", counted)
    assert ckpt_core.verify(str(tmp_path / "w.pt"), depth=ckpt_core.Depth.VALUES).report.ok
    size = (tmp_path / "w.pt").stat().st_size
    assert sum(read) < size + 300_000, "headers apart, each byte is read once"

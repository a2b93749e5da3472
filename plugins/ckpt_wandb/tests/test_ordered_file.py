"""A file that is written in order, past the page cache and through it, is the bytes that it was given."""

import os

import pytest
from ckpt_wandb.parallel.ordered_file import SECTOR, OrderedFile
from ckpt_wandb.parallel.pipeline import _buffers


@pytest.mark.parametrize("position", [0, SECTOR, 7])
def test_long_and_short_writes_follow_each_other_from_where_it_was_left(tmp_path, position):
    path = tmp_path / "a.bin"
    before = os.urandom(position)
    path.write_bytes(before + b"torn")
    (buffer,) = _buffers(1)
    buffer[:] = os.urandom(len(buffer))
    file = OrderedFile(path, position)
    for count in (1 << 20, (1 << 20) + SECTOR + 5, 3, 2 << 20, 0):
        file.write(buffer[:count])
        before += buffer[:count]
    file.sync()
    file.close()
    file.close()
    assert path.read_bytes() == before

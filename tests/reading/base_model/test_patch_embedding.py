"""A convolution over patches and a linear map over flattened patches: one order of weights for the other."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import ckpt_core
from ckpt_core import knobs
from ckpt_core.reading.base_model.patch_embedding import read_rearranged, rearrangement, stream_rearranged
from ckpt_core.schema.dtypes import DType
from ckpt_core.schema.tensors import TensorInfo

SHAPES = st.tuples(*(st.integers(1, 5) for _ in range(4)))


def flat(shape):
    return (shape[0], shape[1] * shape[2] * shape[3])


def info(shape, dtype=DType.F32):
    return TensorInfo(dtype, tuple(shape), None, 0)


def to_linear(weight):
    """The weights of a convolution as those of a linear map, through what is tested."""
    how = rearrangement(info(weight.shape), flat(weight.shape))
    data = memoryview(weight.numpy()).cast("B")
    return torch.from_numpy(np.frombuffer(how.apply(data, DType.F32), "f4").reshape(how.target).copy())


def patches_of(image, size):
    """(patches, size * size * channels): each flattened row by row with its channels last."""
    channels, height, width = image.shape
    cut = image.reshape(channels, height // size, size, width // size, size)
    return cut.permute(1, 3, 2, 4, 0).reshape(-1, size * size * channels)


def test_the_linear_map_gives_on_patches_what_the_convolution_gives_on_the_image():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 8, kernel_size=4, stride=4)
    image = torch.randn(3, 12, 8)
    wanted = conv(image[None])[0].flatten(1).T
    patches = patches_of(image, 4)
    found = torch.nn.functional.linear(patches, to_linear(conv.weight.detach()), conv.bias)
    assert torch.allclose(found, wanted, atol=1e-5)
    reshaped = torch.nn.functional.linear(patches, conv.weight.detach().reshape(8, -1), conv.bias)
    assert not torch.allclose(reshaped, wanted, atol=1e-2), "a reshape alone has the shape and not the weights"


@given(SHAPES, st.sampled_from(["u1", "f2", "f4", "f8"]))
def test_it_is_permute_then_reshape_and_its_inverse_brings_it_back(shape, kind):
    dtype = {"u1": DType.U8, "f2": DType.F16, "f4": DType.F32, "f8": DType.F64}[kind]
    weight = np.arange(int(np.prod(shape))).astype(kind).reshape(shape)
    there = rearrangement(info(shape, dtype), flat(shape))
    linear = there.apply(memoryview(weight).cast("B"), dtype)
    assert bytes(linear) == weight.transpose(0, 2, 3, 1).tobytes()
    back = rearrangement(info(flat(shape), dtype), shape)
    assert bytes(back.apply(linear, dtype)) == weight.tobytes()
    assert (there.operation, back.operation) == ("conv2d to linear", "linear to conv2d")


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ((8, 48), (8, 48)),
        ((8, 3, 4, 4), (8, 3, 4, 4)),
        ((8, 3, 4, 4), (8, 47)),
        ((8, 3, 4, 4), (4, 96)),
        ((8, 3, 16), (8, 48)),
        ((8, 48), (48, 8)),
    ],
)
def test_what_has_the_rank_already_or_another_size_is_left_alone(stored, wanted):
    assert rearrangement(info(stored), wanted) is None


@pytest.fixture
def stored(tmp_path):
    weight = np.arange(10 * 3 * 2 * 4, dtype="f4").reshape(10, 3, 2, 4)
    ckpt_core.save({"w": weight}, str(tmp_path / "w.safetensors"))
    return weight, ckpt_core.load(str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("slab", [1, 200, 1 << 20])
def test_a_stream_gives_whole_rows_as_read_and_as_rearranged(stored, slab):
    weight, checkpoint = stored
    how = rearrangement(info(weight.shape), flat(weight.shape))
    with knobs.override(slab_bytes=slab):
        pairs = [(bytes(a), bytes(b)) for a, b in stream_rearranged(checkpoint, "model", "w", how)]
    assert b"".join(a for a, _ in pairs) == weight.tobytes()
    assert b"".join(b for _, b in pairs) == weight.transpose(0, 2, 3, 1).tobytes()
    assert len(pairs) == (1 if slab == 1 << 20 else 10 if slab == 1 else 5)


@pytest.mark.parametrize("slab", [1, 1 << 20])
@pytest.mark.parametrize("box", [((0, 0), (10, 24)), ((3, 5), (4, 7)), ((9, 23), (1, 1)), ((2, 0), (0, 24))])
def test_any_box_of_the_result_is_read(stored, box, slab):
    weight, checkpoint = stored
    how = rearrangement(info(weight.shape), flat(weight.shape))
    whole = weight.transpose(0, 2, 3, 1).reshape(10, 24)
    expected = whole[box[0][0] : box[0][0] + box[1][0], box[0][1] : box[0][1] + box[1][1]]
    out = memoryview(bytearray(expected.nbytes))
    with knobs.override(slab_bytes=slab):
        read_rearranged(checkpoint, "model", "w", how, box, out)
    assert bytes(out) == expected.tobytes()

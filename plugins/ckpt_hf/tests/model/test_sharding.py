"""The planner against huggingface_hub's own, and sizes as transformers reads them."""

import pytest
from ckpt_hf.model.sharding import DEFAULT_LIMIT, parse_size, plan_shards
from huggingface_hub.serialization._base import parse_size_to_int, split_state_dict_into_shards_factory
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import DType, TensorInfo, UsageError


def infos(sizes, ties):
    """Tensors of bytes; `ties` maps the number of a tensor to that of an earlier one."""
    found = {}
    for number, size in enumerate(sizes):
        first = ties.get(number)
        tied = first is not None and first not in ties
        shape = (sizes[first],) if tied else (size,)
        found[f"t{number}"] = TensorInfo(DType.U8, shape, None, 0, f"t{first}" if tied else None)
    return found


def hub_plan(tensors, limit):
    plan = split_state_dict_into_shards_factory(
        {name: (name, info) for name, info in tensors.items()},
        get_storage_size=lambda item: item[1].nbytes,
        get_storage_id=lambda item: item[1].alias_of or item[0],
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=limit,
    )
    return [set(names) for names in plan.filename_to_tensors.values()], plan.metadata["total_size"]


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=20),
    st.dictionaries(st.integers(1, 19), st.integers(0, 18), max_size=5),
    st.integers(1, 60),
)
def test_the_plan_is_the_hubs(sizes, ties, limit):
    tensors = infos(sizes, {number: first for number, first in ties.items() if first < number < len(sizes)})
    shards = plan_shards(tensors, limit)
    assert [set(names) for names in shards] == hub_plan(tensors, limit)[0]
    assert sorted(name for names in shards for name in names) == sorted(tensors)


def test_a_tensor_larger_than_the_limit_is_alone():
    sizes = [6, 600, 6, 6]
    assert plan_shards(infos(sizes, {}), 100) == [["t1"], ["t0", "t2", "t3"]]


def test_tied_tensors_stay_together_and_count_once():
    assert plan_shards(infos([60, 30, 60], {2: 0}), 100) == [["t0", "t2", "t1"]]


def test_no_tensor_is_one_empty_shard():
    assert plan_shards({}, 100) == [[]]


@pytest.mark.parametrize(
    "text", ["5GB", "200MB", "1KB", "2TB", "1.5GB", "5gb", " 5GB ", "5 GB", "0.29GB", DEFAULT_LIMIT]
)
def test_decimal_units_are_those_of_transformers(text):
    assert abs(parse_size(text) - parse_size_to_int(text)) <= 1  # theirs rounds a float


@pytest.mark.parametrize(("text", "size"), [("1GiB", 2**30), ("512KiB", 2**19), ("1.5MiB", 3 * 2**19), ("1000", 1000)])
def test_binary_units_and_plain_bytes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "5XB", "-1GB", "0", "0GB", "1e3", "5G", "nan", "1,5GB", "5GB5", "0.0000001KB"]
)
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="max_shard_size"):
        parse_size(text)


def test_the_default_is_that_of_transformers():
    import inspect

    from transformers import PreTrainedModel

    assert inspect.signature(PreTrainedModel.save_pretrained).parameters["max_shard_size"].default == DEFAULT_LIMIT

"""The JSON form of state gives back exactly what went in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core import Array, DType, Opaque, TensorRef
from ckpt_core.schema.state import from_json, to_json

KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.sampled_from(["$bytes", "$tuple"]))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=10),
    st.binary(max_size=10),
    st.builds(TensorRef, st.text(max_size=5)),
    st.just(Array(DType.U32, (2,), b"\1\0\0\0\2\0\0\0")),
)
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.builds(Opaque, st.just("a.B"), st.lists(inner, max_size=2).map(tuple), inner),
    ),
    max_leaves=10,
)


@given(STATES)
def test_state_survives_json(state):
    assert from_json(json.loads(json.dumps(to_json(state), allow_nan=False))) == state


@given(STATES)
def test_types_survive_json(state):
    assert repr(from_json(json.loads(json.dumps(to_json(state))))) == repr(state)


def test_nan_is_not_a_bare_token():
    assert to_json(float("nan")) == {"$float": "nan"}
    assert to_json(float("-inf")) == {"$float": "-inf"}


def test_an_unknown_tag_is_an_error():
    with pytest.raises(ValueError, match="not a tag"):
        from_json({"$what": 1})

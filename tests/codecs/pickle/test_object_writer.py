"""Objects of named classes: what is written is what CPython's pickler writes of the real ones."""

import pickle
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpt_core.codecs.pickle.object_writer import Called, Global, Instance, LazyDict, RepeatedValue, write_objects

PLAIN = Global("types", "SimpleNamespace")

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_plain_values_come_back(value):
    assert pickle.loads(write_objects(value)) == value


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 3000])
def test_long_lists_and_dicts_come_back(count):
    value = {"list": [str(n % 7) for n in range(count)], "dict": {str(n): n for n in range(count)}}
    assert pickle.loads(write_objects(value)) == value
    lazy = write_objects(
        LazyDict((key, LazyDict(item.items()) if key == "dict" else item) for key, item in value.items())
    )
    assert lazy == write_objects(value)


@pytest.mark.parametrize("value", [[], ["a", "a", 300, -1], {"x": ("a", 2, True, None)}, {"k": {}, "l": [()]}])
def test_the_bytes_are_those_of_the_pickler_but_for_frames(value):
    theirs = pickle.dumps(value, protocol=4)
    if theirs[2] == 0x95:
        theirs = theirs[:2] + theirs[11:]
    assert write_objects(value) == theirs


def test_an_instance_has_its_class_and_state():
    found = pickle.loads(write_objects([Instance(PLAIN, {"a": 1, "b": "a"}), Instance(PLAIN), PLAIN]))
    assert found == [SimpleNamespace(a=1, b="a"), SimpleNamespace(), SimpleNamespace]


def test_a_call_is_made_with_its_arguments_and_a_shared_one_once():
    ratio, number = Global("fractions", "Fraction"), Global("decimal", "Decimal")
    half = Called(ratio, (1, 2), shared=True)
    found = pickle.loads(write_objects([half, half, Called(number, ("1.5",)), Called(number, ("1.5",))]))
    assert found == [Fraction(1, 2), Fraction(1, 2), Decimal("1.5"), Decimal("1.5")]
    assert found[0] is found[1]
    assert found[2] is not found[3]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), values, max_size=3), max_size=12))
def test_objects_of_a_class_that_came_before_are_written_as_the_first_one_is(states):
    found = pickle.loads(write_objects([Instance(PLAIN, state) for state in states]))
    assert [vars(one) for one in found] == states


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"))))
def test_what_is_the_same_is_written_as_it_would_be_without_saying_so(pairs):
    def made(pair):
        return [Called(Global("fractions", "Fraction"), (1, 1 + pair[0])), Instance(PLAIN, {"x": pair, "y": pair[1]})]

    assert write_objects([RepeatedValue(pair, lambda pair=pair: made(pair)) for pair in pairs]) == write_objects(
        [made(pair) for pair in pairs]
    )


def test_what_it_does_not_know_is_refused():
    with pytest.raises(TypeError, match="float"):
        write_objects([1.5])

"""Data that crosses the channel has exact builtin types, whoever wrote the bytes."""

import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codeparrot.eval.sandbox.inside.codec import MAX_DEPTH, Malformed, NotPlain, decode, encode

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
KEYS = st.recursive(
    st.integers() | st.text() | st.booleans(), lambda keys: st.tuples(keys, keys) | st.frozensets(keys, max_size=3)
)
VALUES = st.recursive(
    ATOMS | st.binary().map(bytearray) | st.sets(KEYS, max_size=3) | st.frozensets(KEYS, max_size=3),
    lambda items: (
        st.lists(items, max_size=4) | st.dictionaries(KEYS, items, max_size=4) | st.lists(items, max_size=3).map(tuple)
    ),
    max_leaves=12,
)
PLAIN = {int, float, complex, bool, str, bytes, bytearray, type(None), list, tuple, dict, set, frozenset, range}
PLAIN |= {type(iter([])), type({}.keys()), type({}.values()), type({}.items())}


def same(ours: Any, theirs: Any) -> bool:
    """Return whether values are equal and of the same types throughout; NaN equals itself here."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, float) and math.isnan(ours):
        return math.isnan(theirs)
    if isinstance(ours, complex):
        return same(ours.real, theirs.real) and same(ours.imag, theirs.imag)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, dict):
        return same(list(ours), list(theirs)) and same(list(ours.values()), list(theirs.values()))
    return ours == theirs


@given(VALUES)
@example([True, 1, 1.0, -0.0, 2**63, -(2**63) - 1, 2**2000, "\ud800", range(3, 9, 2)])
def test_a_value_arrives_with_its_exact_types(value: Any) -> None:
    assert same(decode(encode(value, 1 << 20)), value)


def types_in(value: Any) -> set[type]:
    inner: list[Any] = []
    if isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset) or type(value) in PLAIN - {str, bytes, bytearray, range}:
        inner = list(value) if hasattr(value, "__iter__") else []
    return {type(value)}.union(*map(types_in, inner))


TAGS = [bytes([tag]) for tag in b"NTFjfcsbailtdSzrKVMI"]


@pytest.mark.slow
@settings(max_examples=400)
@given(st.lists(st.sampled_from(TAGS) | st.integers(0, 5).map(struct.Struct("<I").pack) | st.binary()))
def test_hostile_bytes_are_plain_data_or_malformed(parts: list[bytes]) -> None:
    try:
        value = decode(b"".join(parts))
    except Malformed:
        return
    assert types_in(value) <= PLAIN


@given(VALUES, st.data())
def test_a_damaged_encoding_is_plain_data_or_malformed(value: Any, data: Any) -> None:
    raw = bytearray(encode(value, 1 << 20))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Malformed):
        assert types_in(decode(bytes(raw))) <= PLAIN


class Sly(str):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"something else"


def test_a_subclass_crosses_as_its_builtin_part() -> None:
    arrived = decode(encode([Sly("real")], 1000))
    assert type(arrived[0]) is str and arrived != ["anything"] and arrived == ["real"]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 0, (number for number in range(3)), type, nested(MAX_DEPTH), "x" * 2000, 1 << 20_000, [[0] * 300] * 300],
    ids=["object", "function", "iterator", "class", "deep", "long text", "large integer", "many items"],
)
def test_what_is_not_plain_or_too_large_is_refused(value: Any) -> None:
    with pytest.raises(NotPlain):
        encode(value, 1000)


def test_an_iterator_is_asked_for_no_more_than_fits() -> None:
    taken = []
    with pytest.raises(NotPlain):
        encode((taken.append(number) or number for number in iter(int, 1)), 1000, iterators=True)
    assert len(taken) < 1000


def test_an_iterator_arrives_as_one_that_equals_no_list() -> None:
    arrived = decode(encode(map(abs, [-1, 2]), 1000, iterators=True))
    assert arrived != [1, 2] and list(arrived) == [1, 2]

"""Whatever bytes come, reading a request ends in values of the asked types or in one line that says what is wrong."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.serve.fields import MOST_DEEP, Fields, Refused, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def refused(body: bytes) -> str:
    with pytest.raises(Refused) as caught:
        parse(body)
    assert caught.value.status == 400 and "\n" not in caught.value.message and len(caught.value.message) < 400
    return caught.value.message


@given(st.binary(max_size=40))
def test_bytes_are_an_object_or_refused(body: bytes) -> None:
    try:
        assert isinstance(parse(body), dict)
    except Refused as error:
        assert error.status == 400 and "\n" not in error.message


@given(JSON)
def test_each_method_gives_its_type_or_names_the_field(value: Any) -> None:
    fields = Fields({"a": value})
    for read, kinds in (
        (lambda: fields.text("a", "", most=3), str),
        (lambda: fields.integer("a", 0, -3, 10), int),
        (lambda: fields.number("a", 0.0, -3, 10), float),
        (lambda: fields.flag("a"), bool),
        (lambda: fields.texts("a", 2, 5), list),
        (lambda: fields.mapping("a"), Fields),
        (lambda: fields.items("a", 2), list),
    ):
        try:
            found = read()
        except Refused as error:
            assert error.status == 400 and error.param == "a" and error.message.startswith("a ")
            assert "\n" not in error.message and len(error.message) < 300
            error.message.encode()
        else:
            assert isinstance(found, kinds)
            if isinstance(found, str | int | float):
                json.dumps(found, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("depth", [MOST_DEEP + 1, 10_000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    assert "deeply" in refused(b'{"a":' + b"[" * depth + b"]" * depth + b"}")


def test_nesting_up_to_the_limit_is_read() -> None:
    assert "a" in parse(b'{"a":' + b"[" * (MOST_DEEP - 1) + b"]" * (MOST_DEEP - 1) + b"}")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"a"', b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":' + b"1" * 5000 + b"}", b"\xff{}"]
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize(
    ("value", "read"), [("1e999", "number"), ("1" * 400, "number"), ("1" * 400, "integer"), ("true", "integer")]
)
def test_numbers_beyond_all_measure_are_refused(value: str, read: str) -> None:
    with pytest.raises(Refused):
        getattr(Fields(parse(f'{{"a":{value}}}'.encode())), read)("a")


def test_null_is_absent_and_the_last_of_two_counts() -> None:
    fields = Fields(parse(b'{"a":null,"b":1,"b":2,"c":3.0}'))
    assert fields.integer("a", 7) == 7 and fields.integer("b") == 2 and fields.integer("c") == 3


def test_a_field_inside_another_is_named_by_both() -> None:
    with pytest.raises(Refused, match=r"a\.b must be an integer from 0 to 3, not 'x'"):
        Fields({"a": {"b": "x"}}).mapping("a").integer("b", None, 0, 3)


def test_half_a_surrogate_pair_is_refused_and_a_whole_one_read() -> None:
    assert Fields(parse(rb'{"a":"\ud83d\ude42"}')).text("a") == "\U0001f642"
    with pytest.raises(Refused, match="surrogate"):
        Fields(parse(rb'{"a":"\ud83d"}')).text("a")

"""Plain data as bytes, between a test and the program under test.

A decoded value has an exact builtin type, whoever the sender is: it has no method that the sender wrote. Values are numbers,
strings, bytes, None, and lists, tuples, dicts, sets, frozensets, ranges and dict views of them, plus iterators, which arrive as
an iterator over a copy of their items. An instance of a subclass crosses as its builtin part. Decoding evaluates nothing and
looks up no name, so hostile bytes can at most be `Malformed`.
"""

import struct
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 200
"""Most nested containers. Far below the interpreter's own limit, which hostile data must not reach."""

_LENGTH = struct.Struct("<I")
_INT64 = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
_KEYS, _VALUES, _ITEMS = type({}.keys()), type({}.values()), type({}.items())


class NotPlain(TypeError):
    """The value has none of the types above, is too large, or is nested too deeply."""


class Malformed(ValueError):
    """The bytes are not a valid encoding."""


def encode(value: Any, max_bytes: int, iterators: bool = False) -> bytes:
    """Return the bytes of a value. With `iterators`, an iterator is consumed; otherwise it is refused.

    Raises:
        NotPlain: see there; also if the bytes would exceed `max_bytes`.
    """
    out = bytearray()
    _encode(value, out, max_bytes, iterators, MAX_DEPTH)
    return bytes(out)


def _encode(value: Any, out: bytearray, max_bytes: int, iterators: bool, depth: int) -> None:
    if depth == 0:
        raise NotPlain(f"nested more than {MAX_DEPTH} deep")
    if len(out) > max_bytes:
        raise NotPlain(f"more than {max_bytes} bytes")
    if value is None:
        out += b"N"
    elif value is True:
        out += b"T"
    elif value is False:
        out += b"F"
    elif isinstance(value, int):
        _encode_int(value, out, max_bytes)
    elif isinstance(value, float):
        out += b"f" + _FLOAT.pack(value)
    elif isinstance(value, str):
        _encode_bytes(b"s", str.encode(value, "utf-8", "surrogatepass"), out, max_bytes)
    elif isinstance(value, bytes | bytearray):
        _encode_bytes(b"b" if isinstance(value, bytes) else b"a", value, out, max_bytes)
    elif isinstance(value, complex):
        out += b"c" + _COMPLEX.pack(value.real, value.imag)
    else:
        tag, items = _container(value, iterators)
        # The count is not known beforehand: an iterator is asked for no more items than fit.
        start, count = len(out), 0
        out += tag + b"\0\0\0\0"
        for count, item in enumerate(items, 1):  # noqa: B007
            _encode(item, out, max_bytes, iterators, depth - 1)
        _LENGTH.pack_into(out, start + 1, count)


def _encode_int(value: int, out: bytearray, max_bytes: int) -> None:
    length = int.bit_length(value) // 8 + 1
    if length <= 8:
        out += b"j" + _INT64.pack(value)
    else:
        if length > max_bytes:
            raise NotPlain(f"an integer of more than {max_bytes} bytes")
        _encode_bytes(b"i", int.to_bytes(value, length, "little", signed=True), out, max_bytes)


def _encode_bytes(tag: bytes, value: bytes | bytearray, out: bytearray, max_bytes: int) -> None:
    if len(out) + len(value) > max_bytes:
        raise NotPlain(f"more than {max_bytes} bytes")
    out += tag + _LENGTH.pack(len(value)) + value


def _container(value: Any, iterators: bool) -> tuple[bytes, Iterator[Any]]:
    """Return the tag and the items. Uses the builtin's own iteration: a subclass may define another."""
    if isinstance(value, list):
        return b"l", list.__iter__(value)
    if isinstance(value, tuple):
        return b"t", tuple.__iter__(value)
    if isinstance(value, dict):
        return b"d", (part for pair in dict.items(value) for part in pair)
    if isinstance(value, set):
        return b"S", set.__iter__(value)
    if isinstance(value, frozenset):
        return b"z", frozenset.__iter__(value)
    if isinstance(value, range):
        return b"r", iter((value.start, value.stop, value.step))
    if isinstance(value, _KEYS):
        return b"K", iter(value)
    if isinstance(value, _VALUES):
        return b"V", iter(value)
    if isinstance(value, _ITEMS):
        return b"M", iter(value)
    if iterators and isinstance(value, Iterator):
        return b"I", value
    raise NotPlain(f"a value of type {type(value).__name__} is not plain data")


def decode(data: bytes) -> Any:
    """Return the value.

    Raises:
        Malformed: the bytes are not one whole encoding.
    """
    try:
        value, end = _decode(data, 0, MAX_DEPTH)
    except (struct.error, TypeError, ValueError, OverflowError) as error:
        # Cut short, not hashable where it must be, not UTF-8, ...
        raise Malformed(str(error)) from None
    if end != len(data):
        raise Malformed("bytes behind the end")
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    tag = data[at : at + 1]
    at += 1
    if tag == b"j":
        return _INT64.unpack_from(data, at)[0], at + 8
    if tag == b"f":
        return _FLOAT.unpack_from(data, at)[0], at + 8
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag == b"c":
        return complex(*_COMPLEX.unpack_from(data, at)), at + 16
    count = _LENGTH.unpack_from(data, at)[0]
    at += 4
    if count > len(data) - at:
        # Every item takes at least a byte. This also bounds the memory that a false count could claim.
        raise Malformed("cut short")
    if tag in _FROM_BYTES:
        return _FROM_BYTES[tag](data[at : at + count]), at + count
    if tag not in _FROM_ITEMS or depth == 0:
        raise Malformed("unknown tag or nested too deeply")
    items = []
    for _ in range(count):
        item, at = _decode(data, at, depth - 1)
        items.append(item)
    return _FROM_ITEMS[tag](items), at


def _dict(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise Malformed("a key without a value")
    return dict(zip(items[::2], items[1::2], strict=True))


_CONSTANTS = {b"N": None, b"T": True, b"F": False}
_FROM_BYTES = {
    b"s": lambda data: data.decode("utf-8", "surrogatepass"),
    b"b": bytes,
    b"a": bytearray,
    b"i": lambda data: int.from_bytes(data, "little", signed=True),
}
_FROM_ITEMS = {
    b"l": lambda items: items,
    b"t": tuple,
    b"d": _dict,
    b"S": set,
    b"z": frozenset,
    b"r": lambda items: range(*items),
    b"K": lambda items: dict.fromkeys(items).keys(),
    b"V": lambda items: dict(enumerate(items)).values(),
    b"M": lambda items: dict(items).items(),
    b"I": iter,
}

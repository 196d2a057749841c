"""The JSON object of a request, read field by field.

Guarantees: whatever bytes come, reading them ends in values of the asked types or in `Refused`, one line that names the field
and what it may be. null is the same as absent. Fields that nobody asks for are ignored. Texts are Unicode (no half of a
surrogate pair), numbers finite.
Cost: one pass of json over at most 4 MB.
"""

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any, NoReturn

MOST_DEEP = 64
"""Brackets inside brackets."""
MOST_QUOTED = 80
"""Characters of a value that an error quotes."""


class Refused(Exception):
    """What is asked cannot be done: the answer has this status and one line that says why."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        kind: str = "invalid_request_error",
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            status: of HTTP.
            message: one line, for people.
            param: the field that is at fault.
            kind: OpenAI's `type` of the error.
            code: OpenAI's `code` of it.
            headers: of the answer.
        """
        super().__init__(message)
        self.status, self.message, self.param, self.kind, self.code = status, message, param, kind, code
        self.headers = dict(headers or {})


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object that is the body of a request.

    Raises:
        Refused: it is none, it is nested too deeply, or a number in it is none of JSON.
    """
    try:
        found = json.loads(body, parse_constant=_no_number)
    except RecursionError:
        raise Refused(400, f"the body is nested too deeply: at most {MOST_DEEP} brackets inside each other") from None
    except ValueError as error:  # also of bytes that are not UTF-8, and of numbers of thousands of digits
        raise Refused(400, f"the body is not JSON: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(found, dict):
        raise Refused(400, f"the body must be a JSON object, not {quoted(found)}")
    _check_depth(found)
    return found


def _no_number(word: str) -> NoReturn:
    raise Refused(400, f"{word} is no number of JSON")


def _check_depth(found: Any) -> None:
    level = [found]
    for _ in range(MOST_DEEP):
        level = [each for part in level for each in (part.values() if isinstance(part, dict) else part) if _nests(each)]
        if not level:
            return
    raise Refused(400, f"the body is nested too deeply: at most {MOST_DEEP} brackets inside each other")


def _nests(value: Any) -> bool:
    return isinstance(value, dict | list)


def quoted(value: Any) -> str:
    """Return a value of a request as an error quotes it: short, on one line, whatever it holds."""
    text = reprlib.repr(value)
    return text if len(text) <= MOST_QUOTED else f"{text[: MOST_QUOTED - 3]}..."


class Fields:
    """A JSON object of a request. Each method reads one field, and raises `Refused` where it is of another type or range."""

    def __init__(self, values: Mapping[str, Any], inside: str = "") -> None:
        """
        Args:
            values: the object.
            inside: name of the field that holds it, if it is not the whole body.
        """
        self._values, self._inside = values, f"{inside}." if inside else ""

    def has(self, name: str) -> bool:
        """Return whether a field is there and not null."""
        return self._values.get(name) is not None

    def raw(self, name: str) -> Any:
        """Return a field of any type as it came; None: absent."""
        return self._values.get(name)

    def refuse(self, name: str, must: str, status: int = 400) -> NoReturn:
        """Refuse the value of a field: `name must be ..., not 'value'`."""
        full = f"{self._inside}{name}"
        raise Refused(status, f"{full} must be {must}, not {quoted(self._values.get(name))}", param=full)

    def text(self, name: str, default: str | None = None, *, most: int | None = None) -> str | None:
        """Return a text of at most so many characters."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or (most is not None and len(value) > most):
            self.refuse(name, "a text" if most is None else f"a text of at most {most} characters")
        return self._unicode(name, value)

    def _unicode(self, name: str, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError as error:
            full = f"{self._inside}{name}"
            half = f"character {error.start} is half of a surrogate pair"
            raise Refused(400, f"{full} is no Unicode text: {half}", param=full) from None
        return value

    def integer(self, name: str, default: int | None = None, least: int | None = None, most: int | None = None) -> int | None:
        """Return an integer within a range. 3.0 is one: some clients know no other numbers."""
        value = self._values.get(name)
        if value is None:
            return default
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if not isinstance(whole, int) or isinstance(whole, bool) or not _within(whole, least, most):
            self.refuse(name, f"an integer{_range(least, most)}")
        return whole

    def number(
        self, name: str, default: float | None = None, least: float | None = None, most: float | None = None
    ) -> float | None:
        """Return a finite number within a range."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool) or not _within(value, least, most):
            self.refuse(name, f"a number{_range(least, most)}")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, "true or false")
        return value

    def texts(self, name: str, most: int, longest: int | None = None) -> list[str]:
        """Return a list of at most `most` texts; a text alone is a list of one."""
        value = self._values.get(name)
        if value is None:
            return []
        words = [value] if isinstance(value, str) else value
        good = isinstance(words, list) and len(words) <= most and all(isinstance(each, str) for each in words)
        if not good or any(longest is not None and len(each) > longest for each in words):
            limit = "" if longest is None else f" of at most {longest} characters"
            self.refuse(name, f"a text or a list of at most {most} texts{limit}")
        return [self._unicode(name, each) for each in words]

    def mapping(self, name: str) -> "Fields":
        """Return an object inside the object; empty if absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, dict):
            self.refuse(name, "an object")
        return Fields(value or {}, f"{self._inside}{name}")

    def items(self, name: str, most: int | None = None) -> list[Any]:
        """Return a list of anything; empty if absent."""
        value = self._values.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or (most is not None and len(value) > most):
            self.refuse(name, "a list" if most is None else f"a list of at most {most}")
        return value

    def names(self) -> list[str]:
        """Return the names of all fields."""
        return list(self._values)


def _within(value: float, least: float | None, most: float | None) -> bool:
    if not isinstance(value, int) and not math.isfinite(value):
        return False
    return (least is None or value >= least) and (most is None or value <= most) and abs(value) < 2**64


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}" if max(abs(least), abs(most)) < 1e6 else f" from {least} to {most}"
    return f" of at least {least}" if least is not None else f" of at most {most}" if most is not None else ""

"""A setting is a field of a dataclass that carries its unit, its range and whether a resumed run may change it.

    max_steps: int = setting(1000, "steps", at_least(1))

The help shows unit and range, `check_ranges` enforces the range, and `changeable` lists what a resumed run may change: the
field is the one place that says so. A plain field is a setting without a range that a resumed run must keep.

Numbers are finite, and small enough for the libraries that take them, whatever their field says.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_type_hints

from codeparrot.errors import CodeparrotError

T = TypeVar("T")


class Rule(NamedTuple):
    """The values that a number may take."""

    words: str
    """The range as help and errors show it, such as `at least 1`."""
    holds: Callable[[float], bool]
    reason: str = ""
    """What the error says instead of `it must be at least 1`."""


LARGEST = 2**63 - 1
"""Seeds and counts go to torch, NumPy and Arrow as signed numbers of 64 bits."""


def at_least(least: int, reason: str = "", most: float = math.inf) -> Rule:
    """Return the rule of a number that has a smallest value, and a largest one where so many of it would not start or fit."""
    words = (f"at least {least}" if least else "0 or more") + (f" and at most {most:,}" if most < math.inf else "")
    return Rule(words, lambda value: least <= value <= most, reason)


ABOVE_0 = Rule("above 0", lambda value: value > 0)
WITHIN_A_DAY = Rule("above 0 and at most 86400", lambda value: 0 < value <= 86400)
"""Seconds to wait for an answer: sockets take no limit that is much longer than a life."""
FRACTION = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_1 = Rule("0 or more and below 1", lambda value: 0 <= value < 1)

MAY_CHANGE = {"may_change": True}
"""Metadata of a list or of a whole section that a resumed run may change."""


class Was(NamedTuple):
    """Another name of a setting, by which files and commands may call it: that of older versions, or one that Python cannot use
    for a field."""

    name: str
    values: Mapping[str, Any]
    """Today's value for each that it had; others are as they are."""


def setting(
    default: T, unit: str = "", rule: Rule | None = None, *, may_change: bool = False, also: str = "", was: Was | None = None
) -> T:
    """Return a dataclass field, typed as its value.

    Args:
        default: value of the field.
        unit: what a number counts, in the plural; empty for a number without a unit.
        rule: range of a number.
        may_change: whether a resumed run may change the setting, because it does not change what is computed.
        also: names that other programs have for it; an error suggests the setting where one of them is given.
        was: its older name, in the same section.
    """
    metadata = {"unit": unit, "rule": rule, "may_change": may_change, "was": was, **called(also)}
    return dataclasses.field(default=default, metadata=metadata)


def called(also: str) -> dict[str, tuple[str, ...]]:
    """Return the metadata of a field that has other names in other programs."""
    return {"also": tuple(also.split())}


class Renamed(NamedTuple):
    """A setting under its other name."""

    section: str
    """Empty: it stands beside the sections."""
    was: Was
    name: str

    def flag(self, name: str) -> str:
        return f"--{self.section}.{name}" if self.section else f"--{name}"

    def value(self, old: Any) -> Any:
        return self.was.values.get(str(old).lower(), old)


def renamed(kind: type) -> list[Renamed]:
    """Return the settings of a dataclass, and of its sections, that have another name."""
    sections = {"": kind} | {name: hint for name, hint in get_type_hints(kind).items() if dataclasses.is_dataclass(hint)}
    return [
        Renamed(section, field.metadata["was"], field.name)
        for section, hint in sections.items()
        for field in dataclasses.fields(hint)
        if field.metadata.get("was")
    ]


def in_todays_names(saved: Mapping[str, Any], renames: Sequence[Renamed]) -> dict[str, Any]:
    """Return settings by section, with those that have another name today under that name, which wins where both stand."""
    today = dict(saved)
    for each in renames:
        section = today.get(each.section) if each.section else today
        if isinstance(section, dict) and each.was.name in section:
            others = {name: value for name, value in section.items() if name != each.was.name}
            moved = {each.name: each.value(section[each.was.name])} | others
            today = today | {each.section: moved} if each.section else moved
    return today


def check_ranges(settings: Any, prefix: str = "") -> None:
    """Check every number in a dataclass, in the dataclasses it holds, and in its lists and mappings.

    Raises:
        CodeparrotError: naming the key, its value and its range.
    """
    for field in dataclasses.fields(settings):
        name, value, rule = f"{prefix}{field.name}", getattr(settings, field.name), field.metadata.get("rule")
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.")
        else:
            check_number(name, value, rule)


def check_number(name: str, value: Any, rule: Rule | None = None) -> None:
    """Check a number, or all numbers in a list or a mapping; what is neither is left alone, such as a word for a number.

    Raises:
        CodeparrotError: it is out of its range, not finite or too large; `name` is what the error calls it.
    """
    if isinstance(value, dict):
        for key, each in value.items():
            check_number(f"{name}.{key}", each)
    elif isinstance(value, list | tuple):
        for each in value:
            check_number(name, each, rule)
    elif isinstance(value, int | float):
        finite = math.isfinite(value) if isinstance(value, float) else abs(value) <= LARGEST
        if not finite or (rule and not rule.holds(value)):
            limit = "finite" if isinstance(value, float) else f"at most {LARGEST:,}"
            words = f"{rule.words} and {limit}" if rule and not finite else rule.words if rule else limit
            raise CodeparrotError(f"{name} is {value}; {(rule and rule.reason) or f'it must be {words}'}")


class WrongType(NamedTuple):
    """A value that is of another type than its setting."""

    name: str
    value: str
    expected: str
    """Types that it may have, in plain words; empty if the error does not say them."""

    def __str__(self) -> str:
        return f"is {self.value}; it must be {self.expected}"


_IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "NoneType": "null",
    "list": "a list",
    "dict": "a section of settings",
}
_NOTHING = {"": "empty", "None": "null"}


def wrong_type(error: str) -> WrongType | None:
    """Return what an error of jsonargparse says of a value, or None if that is not what it is about."""
    found = re.search(r'key "([\w.]+)": (Expected an? .*?)\. Got value: ?(.*)', error) or re.search(
        r'key "([\w.]+)": Does not validate against any of the Union.*?Errors: (.*) Given value type: .*?: (.*)', error
    )
    if not found:
        return None
    types = re.findall(r"Expected an? (?:<class '(\w+)'>|typing\.Literal\[([^\]]*)\])", found[2])
    words = [_IN_WORDS.get(name, name) or " or ".join(values.replace("'", "").rsplit(", ", 1)) for name, values in types]
    return WrongType(found[1], _NOTHING.get(found[3], found[3]), " or ".join(words))


def changeable(settings: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the settings and whole sections that a resumed run may change."""
    for field in dataclasses.fields(settings):
        name, value = f"{prefix}{field.name}", getattr(settings, field.name)
        if field.metadata.get("may_change"):
            yield name
        elif dataclasses.is_dataclass(value):
            yield from changeable(value, f"{name}.")

"""A setting is a field of a dataclass that carries its unit, its range and whether a resumed run may change it.

    max_steps: int = setting(1000, "steps", at_least(1))

The help shows unit and range, `check_ranges` enforces the range, and `changeable` lists what a resumed run may change: the
field is the one place that says so. A plain field is a setting without a range that a resumed run must keep.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from codeparrot.errors import CodeparrotError

T = TypeVar("T")


class Rule(NamedTuple):
    """The values that a number may take."""

    words: str
    """The range as help and errors show it, such as `at least 1`."""
    holds: Callable[[float], bool]
    reason: str = ""
    """What the error says instead of `it must be at least 1`."""


def at_least(least: int, reason: str = "") -> Rule:
    """Return the rule of a number that has a smallest value."""
    return Rule(f"at least {least}" if least else "0 or more", lambda value: value >= least, reason)


ABOVE_0 = Rule("above 0", lambda value: value > 0)
FRACTION = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_1 = Rule("0 or more and below 1", lambda value: 0 <= value < 1)

MAY_CHANGE = {"may_change": True}
"""Metadata of a list or of a whole section that a resumed run may change."""


def setting(default: T, unit: str = "", rule: Rule | None = None, *, may_change: bool = False) -> T:
    """Return a dataclass field, typed as its value.

    Args:
        default: value of the field.
        unit: what a number counts, in the plural; empty for a number without a unit.
        rule: range of a number.
        may_change: whether a resumed run may change the setting, because it does not change what is computed.
    """
    return dataclasses.field(default=default, metadata={"unit": unit, "rule": rule, "may_change": may_change})


def check_ranges(settings: Any, prefix: str = "") -> None:
    """Check the range of every number in a dataclass and in the dataclasses it holds.

    Raises:
        CodeparrotError: naming the key, its value and its range.
    """
    for field in dataclasses.fields(settings):
        name, value, rule = f"{prefix}{field.name}", getattr(settings, field.name), field.metadata.get("rule")
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.")
        elif rule and not isinstance(value, str) and not rule.holds(value):  # a word such as auto stands for a number
            raise CodeparrotError(f"{name} is {value}; {rule.reason or f'it must be {rule.words}'}")


def changeable(settings: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the settings and whole sections that a resumed run may change."""
    for field in dataclasses.fields(settings):
        name, value = f"{prefix}{field.name}", getattr(settings, field.name)
        if field.metadata.get("may_change"):
            yield name
        elif dataclasses.is_dataclass(value):
            yield from changeable(value, f"{name}.")

"""The limits of all filters in one dataclass, `--filters.*`."""

from dataclasses import fields, make_dataclass
from typing import Any

from codeparrot.corpus import registry
from codeparrot.corpus.filters.filter import MOST
from codeparrot.errors import CodeparrotError

# Dataclasses collect fields from the last base to the first; so the fields come in the order of FILTERS.
_Limits: Any = make_dataclass(
    "_Limits", [], bases=tuple(dict.fromkeys(each.limits for each in reversed(registry.filters().values()))), frozen=True
)


class Thresholds(_Limits):
    """What a file must satisfy to enter the corpus."""

    def check(self) -> None:
        """Raise CodeparrotError if no file could satisfy them, or what they name cannot be read."""
        for each in fields(self):
            value, most = getattr(self, each.name), each.metadata.get(MOST, float("inf"))
            if isinstance(value, str):
                continue
            # Written this way so that NaN is refused too.
            if not value >= 0:
                raise CodeparrotError(f"filters.{each.name} is {value}; it cannot be negative")
            if value > most:
                raise CodeparrotError(f"filters.{each.name} is {value}; it is a fraction, from 0 to {most}")
        for filter_ in registry.filters().values():
            filter_.check(self)

    def files(self) -> dict[str, str]:
        """Return what stands for the content of the files that the limits name."""
        return {name: digest for each in registry.filters().values() for name, digest in each.files(self).items()}

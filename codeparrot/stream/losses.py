"""`on_error`: whether damaged data end a command, or are left out, counted and said."""

import sys
from collections.abc import Callable, Collection
from typing import Literal

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers.rows import Damaged, Where

OnError = Literal["stop", "skip"]
Meet = Callable[[Damaged], None]
"""Called with what is damaged. If it returns, reading goes on without it."""
MOST_SAID = 5
"""So many places are named; all are counted."""


def raise_it(damaged: Damaged) -> None:
    """Raise the error."""
    raise damaged


def refuse(damaged: Damaged) -> None:
    """Raise the error, and name the way around it."""
    skip = "--stream.on_error skip, or --on_error skip,"
    raise CodeparrotError(f"{damaged} ({skip} leaves out what is damaged)") from damaged


def leave_out(damaged: Damaged) -> None:
    """Go on without it."""


class Losses:
    """What a command has left out. Each place counts once, however often it is met.

    Args:
        on_error: stop makes it refuse instead.
    """

    def __init__(self, on_error: OnError) -> None:
        self._refuses = on_error == "stop"
        self._documents: dict[Where, int | None] = {}

    def __call__(self, damaged: Damaged) -> None:
        if self._refuses:
            refuse(damaged)
        if damaged.where in self._documents:
            return
        self._documents[damaged.where] = damaged.documents
        if len(self._documents) <= MOST_SAID:
            print(f"codeparrot: left out: {damaged}", file=sys.stderr)

    @property
    def facts(self) -> dict[str, int]:
        """Return the counts, ready for JSON; nothing where nothing was left out."""
        return counts(self._documents.values()) if self._documents else {}

    def __str__(self) -> str:
        """Say what is missing, behind other text; nothing if nothing is."""
        return f"; {in_words(self._documents.values())}" if self._documents else ""


def counts(documents: Collection[int | None]) -> dict[str, int]:
    """Return counts from the documents that are lost at each place; None: not known."""
    return {"damaged_places": len(documents), "damaged_documents": sum(count or 0 for count in documents)}


def in_words(documents: Collection[int | None]) -> str:
    """Say what `counts` returns."""
    unknown = sum(count is None for count in documents)
    more = f" and an unknown number at {unknown:,} of the places" if unknown else ""
    return f"left out as damaged: {counts(documents)['damaged_documents']:,} documents{more}, {len(documents):,} places"

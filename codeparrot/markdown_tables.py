"""Tables and texts in Markdown. Some of the texts come from people who mean harm, so none is taken for markup."""

import re
from collections.abc import Iterable
from typing import Any


def table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Return a Markdown table; whole numbers are aligned to the right."""
    rows = list(rows)
    numeric = [bool(rows) and isinstance(rows[0][column], int) for column in range(len(header))]
    rule = ["---:" if each else "---" for each in numeric]
    return [_row(header), _row(rule), *(_row(_cell(value) for value in row) for row in rows)]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else plain(str(value))


def clean(text: str) -> str:
    """Return a text without what could make a terminal or a page show something else than it says."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def plain(text: str) -> str:
    """Return a text in one line in which Markdown and HTML mean nothing."""
    escaped = clean(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([|\[\]*])", r"\\\1", escaped)

"""Texts of prompts as tokens, before the engine gets them.

Guarantees: a prompt is read once for all of its samples; nobody waits while somebody else's long text is read.
Long texts are read one after the other, in a thread of their own (`aside.py`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codeparrot.generation.engine import Engine
    from codeparrot.generation.requests import Request

LONG_CHARACTERS = 20_000
"""Takes about as long as one step of the engine does."""


def is_long(requests: "Sequence[Request]") -> bool:
    """Return whether reading these requests would keep others waiting."""
    return sum(_characters(each) for each in _distinct(requests)) > LONG_CHARACTERS


def read(engine: "Engine", requests: "Sequence[Request]") -> "list[tuple[Request, str]]":
    """Return what the engine queues of each request.

    Raises:
        CodeparrotError: one cannot be completed.
    """
    found: list[tuple[Request, str]] = []
    before = None
    for each in requests:
        if before is None or not _same(before, each):
            found.append(engine.resolve(each))
        else:
            resolved, words = found[-1]
            found.append((replace(resolved, sampler=each.sampler), words))
        before = each
    return found


def _same(one: "Request", other: "Request") -> bool:
    """Return whether two requests are samples of one prompt."""
    return replace(one, sampler=other.sampler) == other


def _distinct(requests: "Sequence[Request]") -> "list[Request]":
    return [
        each for before, each in zip((None, *requests), requests, strict=False) if before is None or not _same(before, each)
    ]


def _characters(request: "Request") -> int:
    return len(request.prompt) + len(request.suffix or "") + sum(map(len, request.extra))

"""What an objective may make of documents before they are packed (objectives/fim.py).

It is a function of the document and the epoch alone, so order, resume, world size and threads change nothing, and the place in
the stream stays a few numbers. Documents that it leaves as they are cost nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Part(NamedTuple):
    """Some tokens of what a document becomes."""

    name: str
    """What `inspect` calls them; empty: the document as it is."""
    tokens: NDArray[np.uint32]


class Texts(NamedTuple):
    """A piece of a document, in texts that are encoded one by one."""

    texts: tuple[str, ...]
    arrange: Callable[[Sequence[NDArray[np.uint32]]], list[Part]]
    """Returns what the tokens of the texts become, its end included; no part is empty."""


class Transform(Protocol):
    """Changes some documents, as a function of the document and the epoch."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings without which a place in the stream means nothing, by their names in the configuration; ready for JSON."""
        ...

    def of_text(self, text: str, epoch: int) -> Iterator[Texts] | None:
        """Return the pieces that a document becomes, or None if it stays as it is."""
        ...

    def of_tokens(self, tokens: NDArray[np.uint32], epoch: int) -> list[Part]:
        """Return what a window becomes that was tokenised before: parts of documents, with end tokens between them."""
        ...

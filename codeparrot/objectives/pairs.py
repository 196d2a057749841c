"""Code and its description, both ways: some pairs teach to describe code, the others to write it.

    def area(width, height): ...  [empty line] \"\"\" The area of a rectangle. \"\"\"     predicted: the description
    \"\"\" The area of a rectangle. \"\"\" [new line] def area(width, height): ...         predicted: the code

Which way a pair is put depends on (seed, epoch, its texts), never on its place, the lane or the machine. What is given is read
and not predicted, and encoded by itself. A pair that goes on in the next window is predicted there without what was given, so
the half that is longer than a window is never given if the other is not. A pair is encoded at once.

Evaluations put each pair one way, whatever the seed and the rate of the run (`of_validation`).

Cost: benchmarks/objectives.py measures it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from codeparrot.objectives.fim import CHARACTERS_PER_TOKEN
from codeparrot.stream.described import SEPARATOR
from codeparrot.stream.given import given
from codeparrot.stream.order import happens
from codeparrot.stream.transform import Part, Texts, Transform

Tokens = NDArray[np.uint32]

QUOTES = '"""'
BEFORE_DESCRIPTION = f"\n\n{QUOTES}"
"""What stands between code and its description."""


@dataclass(frozen=True)
class Pairs:
    """Puts a document and its description one behind the other. A Transform of the stream."""

    column: str
    """That holds the descriptions."""
    describe_rate: float
    """Share of the pairs whose description is predicted."""
    seed: int
    seq_length: int
    end_of_document: int
    others: Transform | None = None
    """What changes documents without a description."""

    @property
    def settings(self) -> Mapping[str, Any]:
        own = {"description": self.column, "describe_rate": self.describe_rate}
        return {**own, **(self.others.settings if self.others else {})}

    def of_validation(self) -> "Pairs":
        """Return what puts the pairs of a validation set: the same in each run."""
        return replace(self, describe_rate=0.5, seed=0, others=None)

    def of_text(self, text: str, epoch: int) -> Iterator[Texts] | None:
        description, separator, code = text.partition(SEPARATOR)
        if not separator:
            return self.others.of_text(text, epoch) if self.others else None
        # Three quotes would end the description.
        quoted = description.strip().replace(QUOTES, "'''")
        content = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass"))
        describes = happens(self.describe_rate, f"pairs/{self.seed}/{epoch}/{content}")
        long_code, long_description = (len(each) > self.seq_length * CHARACTERS_PER_TOKEN for each in (code, quoted))
        if long_description if long_code != long_description else describes:
            read, written, names = f"{code.rstrip()}{BEFORE_DESCRIPTION}", f"{quoted}{QUOTES}", ("code, given", "description")
        else:
            read, written, names = f"{QUOTES}{quoted}{QUOTES}\n", code, ("description, given", "code")
        return iter([Texts((read, written), partial(self._arranged, names))])

    def of_tokens(self, tokens: Tokens, epoch: int) -> list[Part]:
        """Return a window as it is: it holds no pairs."""
        return [Part("", tokens)]

    def _arranged(self, names: tuple[str, str], texts: Sequence[Tokens]) -> list[Part]:
        read, written = texts
        end = np.array([self.end_of_document], np.uint32)
        return [Part(names[0], given(read)), Part(names[1], np.concatenate([written, end]))]

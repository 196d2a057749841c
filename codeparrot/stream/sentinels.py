"""Special tokens that mark the parts of a document whose middle is taken out (Bavarian et al., arXiv:2207.14255).

    <fim_prefix> prefix <fim_suffix> suffix <fim_middle> middle <|endoftext|>        PSM
    <fim_prefix> <fim_suffix> suffix <fim_middle> prefix middle <|endoftext|>        SPM, as SantaCoder (arXiv:2301.03988)

The names are StarCoder's, which llama.cpp and editors know. A tokenizer has them from its training: added later, their rows of
the embeddings would be untrained.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError

FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD = "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"
FILE_SEP, REPO_NAME = "<|file_sep|>", "<|repo_name|>"
SENTINELS = (FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX, FIM_PAD, FILE_SEP, REPO_NAME)
"""In the order of their ids in a tokenizer of `codeparrot tokenizer train`."""

PAD, MASK = "<pad>", "<mask>"
EXTRA_IDS = tuple(f"<extra_id_{number}>" for number in range(100))
"""Stand for spans that are taken out of a text, in T5's spelling (Raffel et al., arXiv:1910.10683)."""
TOKENS_OF = {"masked": (PAD, MASK), "span": (PAD, *EXTRA_IDS)}
"""Special tokens that objectives other than the causal one need."""


def tokens_of(objectives: Iterable[str]) -> list[str]:
    """Return the special tokens that these objectives need, in the order of their ids, whatever the order of the objectives."""
    needed = {token for name in objectives for token in TOKENS_OF.get(name, ())}
    return [token for token in (PAD, MASK, *EXTRA_IDS) if token in needed]


class Sentinels(NamedTuple):
    """Ids of the tokens that fill-in-the-middle needs."""

    prefix: int
    middle: int
    suffix: int


def sentinels_of(tokenizer: Any) -> Sentinels | None:
    """Return the ids of a tokenizer's sentinels, or None if it does not have them as special tokens."""
    special = {str(token): number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    names = FIM_PREFIX, FIM_MIDDLE, FIM_SUFFIX
    return Sentinels(*(special[name] for name in names)) if all(name in special for name in names) else None


def require_sentinels(tokenizer: Any, what: str) -> Sentinels:
    """Return the ids of a tokenizer's sentinels.

    Args:
        tokenizer: a tokenizer of transformers.
        what: what needs them, as the subject of the error: "objective.fim_rate 0.5".

    Raises:
        CodeparrotError: it does not have them.
    """
    found = sentinels_of(tokenizer)
    if found is None:
        raise CodeparrotError(
            f"{what} needs a tokenizer with {FIM_PREFIX}, {FIM_MIDDLE} and {FIM_SUFFIX}; `codeparrot tokenizer train` "
            "makes one, and a model must be trained with them from its beginning"
        )
    return found

"""The next token of each running completion, from the model's logits.

Guarantees: rows with the same kind of sampler draw together, and each gets what it would get alone; a row without
probabilities to draw from fails by itself. Cost besides the samplers': nothing for rows without healing, `adjust` and
likelihoods.
"""

from collections.abc import Sequence
from typing import Any

import torch

from codeparrot.errors import CodeparrotError
from codeparrot.generation.adjust import adjust
from codeparrot.generation.failures import NotFinite, NothingLeft
from codeparrot.generation.healing import constrain
from codeparrot.generation.likelihoods import likelihoods
from codeparrot.generation.requests import Completion
from codeparrot.generation.texts import Decoder


class Drawing:
    """Gives completions their tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._pieces: dict[int, str] = {}
        # Decode each token after a letter: some tokenizers decode the first token of a text differently.
        # As prompts are encoded: the option is a state of the tokenizer, which other threads use.
        letter = tokenizer("a", add_special_tokens=False, split_special_tokens=True)["input_ids"]
        self._piece = Decoder(tokenizer, letter)

    def add(self, completions: Sequence[Completion], logits: torch.Tensor) -> None:
        """Draw the next token of each row of `logits` [rows, vocabulary], which are changed; rows without one fail."""
        wanted = [row for row, each in enumerate(completions) if each.request.num_likely is not None]
        raw = logits[wanted]  # a copy, before anything changes
        # Of tokens that a model never writes, the logits are -inf.
        for row, is_finite in enumerate(logits.amax(-1).isfinite().tolist()):
            try:
                if not is_finite:
                    raise NotFinite
                _prepare(logits, row, completions[row])
            except CodeparrotError as error:
                completions[row].fail(error)
        tokens = self._draw(completions, logits)
        counted = [place for place, row in enumerate(wanted) if row in tokens]
        if counted:
            rows = [wanted[place] for place in counted]
            counts = [completions[row].request.num_likely or 0 for row in rows]
            found = likelihoods(raw if len(counted) == len(wanted) else raw[counted], [tokens[row] for row in rows], counts)
            for row, likelihood in zip(rows, found, strict=True):
                completions[row].likelihoods.append(likelihood)
        for row, token in tokens.items():
            completions[row].add(token, self._text)

    def _draw(self, completions: Sequence[Completion], logits: torch.Tensor) -> dict[int, int]:
        """Return the token of each row whose completion has not ended."""
        kinds: dict[Any, list[int]] = {}
        for row, completion in enumerate(completions):
            if not completion.ended:
                kinds.setdefault(type(completion.request.sampler), []).append(row)
        tokens = {}
        for kind, rows in kinds.items():
            own = [completions[row] for row in rows]
            drawn = kind.draw(logits if len(rows) == len(completions) else logits[rows], own)
            tokens.update(zip(rows, drawn, strict=True))
        return tokens

    def _text(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._piece([token])
        return self._pieces[token]


def _prepare(logits: torch.Tensor, row: int, completion: Completion) -> None:
    """Take out of a row's logits what its request excludes.

    Raises:
        CodeparrotError: no token is left.
    """
    if completion.rest and completion.vocabulary is not None:
        constrain(logits, row, completion.rest, completion.vocabulary)
    elif completion.unjoined:
        logits[row, [end for end in completion.ends if end < logits.shape[1]]] = -torch.inf
    if completion.request.adjust is not None:
        adjust(logits[row], completion.request.adjust, completion.prompt, completion.ids)
        if not logits[row].amax().isfinite():
            raise NothingLeft

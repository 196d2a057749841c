"""The choices of an answer of /v1/completions: text, why it ended, and the likelihoods of its tokens.

Guarantees: `text_offset` counts characters of `text` where the prompt is echoed, else of prompt and text together. A token's
log probability is the model's own (`generation/likelihoods.py`); it is the largest in `top_logprobs` exactly where the token is
the likeliest. Joined, streamed choices are the whole one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codeparrot.generation.likelihoods import Likelihood
from codeparrot.generation.requests import Completion
from codeparrot.serve.asking import finish_reason
from codeparrot.serve.spelling import Spelled, Spelling

LEAST = -9999.0
"""Written for a log probability of minus infinity, which is no number of JSON."""


@dataclass(frozen=True)
class Shown:
    """What of a completion is shown besides its text."""

    prompt: str
    """The prompt's text."""
    in_tokens: bool
    """Whether the prompt came as tokens: the names of special ones are then part of its text."""
    echo: bool
    logprobs: bool


def choice(index: int, completion: Completion, shown: Shown, spelling: Spelling) -> dict[str, Any]:
    """Return a whole choice."""
    text = completion.text
    tokens = Tokens(completion, shown, spelling)
    logprobs = tokens.of(completion.likelihoods, len(text), completion.ended) if shown.logprobs else None
    return form(index, (shown.prompt if shown.echo else "") + text, logprobs, finish_reason(completion.ended))


def form(index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    """Return a choice in OpenAI's form."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


class Tokens:
    """The tokens of a choice, written with their text: what may yet be a stop text is held back, tokens and all."""

    def __init__(self, completion: Completion, shown: Shown, spelling: Spelling) -> None:
        self._completion, self._shown, self._spelling = completion, shown, spelling
        self._echoed = not (shown.echo and completion.request.of_prompt)
        # What healing took back belongs to the first new tokens.
        taken_back = len(completion.request.begin.decode(errors="ignore"))
        self._place = spelling.places(len(shown.prompt) - taken_back, special=False)
        self._end = len(shown.prompt)
        self._held: list[tuple[Spelled, Likelihood | None]] = []

    def of(self, new: Sequence[Likelihood], num_characters: int, ended: str) -> dict[str, Any]:
        """Return the logprobs of new tokens, with those of the prompt the first time.

        Args:
            new: likelihoods that came since the last call.
            num_characters: length of the completion's text so far: tokens behind it wait for theirs.
            ended: why the completion has ended, if it has: tokens behind a stop text are left out, and others have none.
        """
        rows: list[tuple[Spelled, Likelihood | None]] = []
        if not self._echoed:
            self._echoed = True
            ids, special = self._completion.prompt, self._shown.in_tokens
            rows += zip(map(self._spelling.places(0, special), ids), self._completion.prompt_likelihoods, strict=True)
        self._held += [(self._place(each.token), each) for each in new]
        written = sum(at.offset < self._end + num_characters for at, _ in self._held)
        if ended and ended != "stop":
            written = len(self._held)
        rows += self._held[:written]
        del self._held[:written]
        return {
            "tokens": [at.name for at, _ in rows],
            "token_logprobs": [None if each is None else _number(each.logprob) for _, each in rows],
            "top_logprobs": [None if each is None else self._likeliest(each) for _, each in rows],
            "text_offset": [at.offset for at, _ in rows],
        }

    def _likeliest(self, likelihood: Likelihood) -> dict[str, float]:
        """Return the likeliest tokens and the token itself, as OpenAI does."""
        pairs = [*likelihood.likely, (likelihood.token, likelihood.logprob)]
        return {self._spelling.name(token): _number(value) for token, value in pairs}


def _number(logprob: float) -> float:
    return max(logprob, LEAST)

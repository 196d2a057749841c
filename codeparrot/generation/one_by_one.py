"""Sequences of any causal language model, each with its own past: for recurrent models and other kinds of attention.

Cost: one forward pass per token of each sequence, and one over its prompt; nothing is shared.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from codeparrot.generation.likelihoods import Likelihood, likelihoods


class _Past(NamedTuple):
    ids: torch.Tensor
    """[1, length]: the prompt and the new tokens given to the model."""
    kept: dict[str, Any]
    """What the model takes besides tokens: its cache, under the model's own name for it."""


class _PastReading:
    """A prompt that is read in one pass; one more, over all of its tokens, where their likelihoods are wanted."""

    cached = 0

    def __init__(
        self,
        read: Callable[[], tuple[_Past, torch.Tensor]],
        all_logits: Callable[[], torch.Tensor],
        ids: Sequence[int],
        num_likely: int | None,
    ) -> None:
        self.likelihoods: list[Likelihood | None] = []
        self._read, self._all_logits, self._ids, self._num_likely = read, all_logits, ids, num_likely
        self.done = False

    def advance(self) -> None:
        self.past, self.logits = self._read()
        if self._num_likely is not None:
            following = self._ids[1:]
            rows = self._all_logits()[: len(following)]
            self.likelihoods = [None, *likelihoods(rows, following, [self._num_likely] * len(following))]
        self.done = True


class OneByOne:
    """Runs a model the way transformers' `generate` does: the model itself prepares its inputs."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rows: list[_Past] = []
        takes = inspect.signature(model.forward).parameters
        self._fixed = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        yield

    def reserve(self, count: int, length: int) -> None:
        """Reserve nothing: memory is taken when it is needed."""

    def read(self, ids: Sequence[int], num_likely: int | None = None) -> _PastReading:
        given = torch.tensor([list(ids)], device=self._model.device)
        start = _Past(given, {"attention_mask": torch.ones_like(given), "use_cache": True})

        def all_logits() -> torch.Tensor:
            return self._model(input_ids=given, use_cache=False, return_dict=True).logits[0].float()

        return _PastReading(lambda: self._run(start, first=True), all_logits, ids, num_likely)

    def put(self, row: int, reading: _PastReading) -> None:
        assert row == len(self._rows)
        self._rows.append(reading.past)

    def wipe(self, row: int) -> None:
        """Do nothing: rows share no memory."""

    def clear(self) -> None:
        """Do nothing: no more is kept than is needed."""

    def forward(self, newest: Sequence[int]) -> torch.Tensor:
        logits = []
        for row, token in enumerate(newest):
            past = self._rows[row]
            ids = torch.cat([past.ids, past.ids.new_tensor([[token]])], -1)
            self._rows[row], found = self._run(past._replace(ids=ids), first=False)
            logits.append(found)
        return torch.cat(logits)

    def _run(self, past: _Past, first: bool) -> tuple[_Past, torch.Tensor]:
        # A model that keeps nothing reads everything again.
        new = 1 if not first and len(past.kept) > 2 else None
        inputs = self._model.prepare_inputs_for_generation(
            past.ids, next_sequence_length=new, is_first_iteration=first, **self._fixed, **past.kept
        )
        output = self._model(**inputs, return_dict=True)
        kept = self._model._update_model_kwargs_for_generation(output, past.kept)
        return _Past(past.ids, kept), output.logits[:, -1].float()

    def leave(self, row: int) -> None:
        last = self._rows.pop()
        if row < len(self._rows):
            self._rows[row] = last

"""Sequences of any causal language model, each with its own past: for recurrent models and other kinds of attention.

Cost: one forward pass per token of each sequence, and one over its prompt; nothing is shared.
"""

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch


class _Past(NamedTuple):
    ids: torch.Tensor
    """[1, length]: the prompt and the new tokens given to the model."""
    kept: dict[str, Any]
    """What the model takes besides tokens: its cache, under the model's own name for it."""


class OneByOne:
    """Runs a model the way transformers' `generate` does: the model itself prepares its inputs."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._rows: list[_Past] = []
        self._read: _Past | None = None
        takes = inspect.signature(model.forward).parameters
        self._fixed = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        yield

    def reserve(self, count: int, length: int) -> None:
        """Reserve nothing: memory is taken when it is needed."""

    def read(self, ids: Sequence[int]) -> torch.Tensor:
        given = torch.tensor([list(ids)], device=self._model.device)
        self._read, logits = self._run(_Past(given, {"attention_mask": torch.ones_like(given), "use_cache": True}), first=True)
        return logits

    def put(self, row: int) -> None:
        assert self._read is not None and row == len(self._rows)
        self._rows.append(self._read)
        self._read = None

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

"""The bytes that tensors hold while a step runs, by what they are for.

A `Ledger` sees every operation below autograd, as torch's memory tracker does (torch.distributed._tools.MemTracker, with which
a test compares it), in a tenth of its time. On fake tensors it costs no memory and no arithmetic.

What an operator of torch allocates for itself is not seen. Of the operators in a step, those of a CPU allocate some (a
reordered matrix); on a GPU the libraries' workspaces are part of the margin (gpus.py).
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PARAMETERS, GRADIENTS, OPTIMIZER = "parameters", "gradients", "optimizer"
ACTIVATIONS, LOGITS, GATHERS, BUCKETS = "activations", "logits", "gathers", "buckets"
CATEGORIES = (PARAMETERS, GRADIENTS, OPTIMIZER, ACTIVATIONS, LOGITS, GATHERS, BUCKETS)
"""Gathers: weights that are cast or gathered for a product. Buckets: what gradients travel in. Logits: with the gradients that
the chunked loss computes beside them."""

Bytes = dict[str, float]
"""By category."""


class Event(NamedTuple):
    phase: str
    storage: int
    change: int


class Ledger(TorchDispatchMode):
    """Writes down every allocation and release while it is entered, under the phase and the category that are set."""

    def __init__(self) -> None:
        super().__init__()
        self.phase, self.category = "", ACTIVATIONS
        self._events: list[Event] = []
        self._sizes: dict[int, int] = {}
        self._category: dict[int, str] = {}
        self._numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __enter__(self) -> "Ledger":
        self._resize = torch.UntypedStorage.resize_
        ledger, resize = self, self._resize

        def resized(storage: Any, size: int) -> Any:  # FSDP2 frees and takes gathered weights in this way
            done = resize(storage, size)
            ledger._note(storage, GATHERS)
            return done

        torch.UntypedStorage.resize_ = resized  # type: ignore[method-assign]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.UntypedStorage.resize_ = self._resize  # type: ignore[method-assign]
        return super().__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # a sharded tensor takes itself apart first
        result = function(*args, **(kwargs or {}))
        category = self._category_of(function, args)
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self._note(each.untyped_storage(), category)
        return result

    def _category_of(self, function: Any, args: Any) -> str:
        if function.namespace == "fsdp":
            return BUCKETS if "chunk_cat" in function.name() else GATHERS
        cast = function is torch.ops.aten._to_copy.default and self.category == ACTIVATIONS
        return GATHERS if cast and self.holds(args[0], PARAMETERS) else self.category

    def holds(self, tensor: torch.Tensor, category: str) -> bool:
        """Whether a tensor's memory belongs to a category."""
        number = self._numbers.get(tensor.untyped_storage())
        return number is not None and self._category[number] == category

    def _note(self, storage: Any, category: str) -> None:
        number, size = self._numbers.get(storage), storage.nbytes()
        if number is None:
            number = self._numbers[storage] = len(self._category)
            self._sizes[number], self._category[number] = 0, category
            weakref.finalize(storage, self._change, number, 0)
        elif self._sizes[number] == 0 and size:
            self._category[number] = category
        self._change(number, size)

    def _change(self, number: int, size: int) -> None:
        if change := size - self._sizes[number]:
            self._sizes[number] = size
            self._events.append(Event(self.phase, number, change))

    @contextmanager
    def within(self, category: str) -> Iterator[None]:
        """Put what is allocated inside into a category."""
        before, self.category = self.category, category
        yield
        self.category = before

    def call_what_lives(self, category: str, since: int) -> None:
        """Move what was allocated as activations after event number `since`, and still lives, to a category."""
        for event in self._events[since:]:
            if self._sizes[event.storage] and self._category[event.storage] == ACTIVATIONS:
                self._category[event.storage] = category

    @property
    def now(self) -> int:
        """The number of the next event."""
        return len(self._events)

    def peaks(self) -> dict[str, Bytes]:
        """Return what was held at the moment of each phase in which most was held."""
        held: Bytes = dict.fromkeys(CATEGORIES, 0)
        found: dict[str, Bytes] = {}
        for phase, storage, change in self._events:
            held[self._category[storage]] += change
            if sum(held.values()) >= sum(found.get(phase, {}).values()):
                found[phase] = dict(held)
        return found

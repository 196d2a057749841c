"""Complete many prompts in one batch that is kept full.

    with Engine(model, tokenizer) as engine:
        completion = engine.submit(Request("def add(a, b):", Nucleus(0.2)))
        for piece in completion:
            print(piece, end="")

Guarantees
- A completion is a function of the model and its request. Batch size, order, neighbours and interruptions do not change it: on
  a CPU in float32 to the last bit, if the batch is filled up to a multiple of ROWS (batch.py) and the sampler treats each row
  by itself (sampling.py).
- A completion ends before the first stop text that the model itself wrote, at an end token, or at its longest length. It
  then leaves the batch and another takes its place: nothing waits for the longest.
- A model whose logits are not finite is refused: whatever was drawn from them would be no sample.
- Inside `with` the model is in evaluation mode; afterwards its modes and the random state of the process are what they were.

Cost: one forward pass over a prompt for all of its samples that are submitted in a row; then one per token for the whole batch.
Models whose sequences cannot lie side by side run them one by one (one_by_one.py); the log says so.
"""

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from codeparrot.errors import CodeparrotError
from codeparrot.generation.batch import NotInSlots, SlotBatch, obstacle, window
from codeparrot.generation.healing import constrain, vocabulary_of
from codeparrot.generation.one_by_one import OneByOne
from codeparrot.generation.prompts import context_length, resolved
from codeparrot.generation.requests import CANCELLED, Completion, Request
from codeparrot.generation.texts import Decoder

log = logging.getLogger(__name__)

ROWS = 16
"""Matrix products of a multiple of this many rows sum each row in the same order; those of 1 to 9 rows do not."""


class Engine:
    """Completes submitted requests, first come first served. Enter it before running it."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int = 64, multiple: int = ROWS) -> None:
        """
        Args:
            model: a causal language model of transformers, unwrapped (not DDP, DeepSpeed or FSDP).
            tokenizer: its tokenizer.
            batch_size: sequences at a time.
            multiple: the batch is filled up to a multiple of this many rows. With ROWS a completion has the same bits whatever
                is beside it; 1 is faster for a few sequences.
        """
        self._model, self._tokenizer, self._size = model, tokenizer, batch_size
        self._pending: deque[Completion] = deque()
        self._running: list[Completion] = []
        self._longest = 0
        self._context = context_length(model)
        self._ends = _end_tokens(model, tokenizer)
        self._obstacle, self._window = obstacle(model), window(model)
        self._slots, self._singles = SlotBatch(model, multiple), OneByOne(model)
        self._batch: SlotBatch | OneByOne | None = None
        self._entered, self._mode = contextlib.ExitStack(), contextlib.ExitStack()
        self._pieces: dict[int, str] = {}
        # Decode each token after a letter: some tokenizers decode the first token of a text differently.
        self._piece = Decoder(tokenizer, tokenizer("a", add_special_tokens=False)["input_ids"])

    def __enter__(self) -> "Engine":
        self._entered.enter_context(evaluating(self._model))
        self._entered.push(lambda *_: self._mode.close())
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.close()
        self._batch = None

    def submit(self, request: Request) -> Completion:
        """Queue a request. A prompt that does not fit the context loses its beginning, and a warning is logged."""
        request = resolved(request, self._tokenizer, self._context)
        vocabulary = vocabulary_of(self._tokenizer) if request.begin or request.join else None
        completion = Completion(request, self._tokenizer, self._ends, self.step, vocabulary)
        self._longest = max(self._longest, completion.length)
        self._pending.append(completion)
        return completion

    def run(self, broken_off: Callable[[], bool] = lambda: False) -> Iterator[Completion]:
        """Yield each completion as it ends, until none is left.

        Args:
            broken_off: called before each token; True ends the run, and completions keep what they have.
        """
        while self.busy and not broken_off():
            yield from self.step()

    @property
    def busy(self) -> bool:
        """Whether any completion is unfinished."""
        return bool(self._pending or self._running)

    @torch.no_grad()
    def step(self) -> list[Completion]:
        """Fill the batch, give each sequence in it a token, and return the completions that ended."""
        done = self._remove() + self._fill()
        if self._running:
            assert self._batch is not None
            self._add(self._running, self._batch.forward([each.ids[-1] for each in self._running]))
            done += self._remove()
        return done

    def _fill(self) -> list[Completion]:
        """Start requests until the batch is full, and return the completions that end with their first token."""
        done = []
        while self._pending and len(self._running) < self._size and self._choose(self._pending[0]):
            completion = self._pending.popleft()
            if completion.ended != CANCELLED:
                self._start(completion)
            if completion.ended:
                done.append(completion)
        return done

    def _choose(self, first: Completion) -> bool:
        """Prepare the kind of batch that a request needs, and return whether it can start: it waits while another kind runs."""
        beyond = self._window is not None and self._window < first.length
        wanted = self._singles if self._obstacle or beyond else self._slots
        if wanted is self._batch:
            return True
        if self._running:
            return False
        self._mode.close()
        self._mode.enter_context(wanted.in_use())
        self._batch = wanted
        if wanted is self._singles and len(self._pending) > 1:
            words = self._obstacle or f"they attend to {self._window} tokens, and {first.length} were requested"
            log.warning(f"models of type {self._model.config.model_type} complete one by one: {words}")
        return True

    def _start(self, completion: Completion) -> None:
        assert self._batch is not None
        completion.random = completion.request.sampler.start()
        try:
            logits = self._batch.read(completion.prompt)
        except NotInSlots:
            self._obstacle = "not all their layers are attention"
            self._choose(completion)
            logits = self._batch.read(completion.prompt)
        self._add([completion], logits.clone())  # other samples of the prompt will want them too
        if not completion.ended:
            self._reserve()
            self._batch.put(len(self._running))
            self._running.append(completion)

    def _reserve(self) -> None:
        """Reserve room once for all running and waiting completions."""
        assert self._batch is not None
        waiting = 1 + len(self._running) + len(self._pending)
        self._batch.reserve(min(self._size, waiting), self._longest)

    def _remove(self) -> list[Completion]:
        """Take the completions that have ended out of the batch."""
        done = []
        for row in reversed(range(len(self._running))):
            if self._running[row].ended:
                assert self._batch is not None
                self._batch.leave(row)
                done.append(self._running[row])
                last = self._running.pop()
                if row < len(self._running):
                    self._running[row] = last
        return done

    def _add(self, completions: Sequence[Completion], logits: torch.Tensor) -> None:
        """Draw the next token of each row; rows with the same kind of sampler draw together. `logits` are changed.

        Raises:
            CodeparrotError: there are no probabilities to draw from.
        """
        if not logits.amax(-1).isfinite().all():  # of tokens that a model never writes, the logits are -inf
            remedy = "it has diverged or is damaged; take an earlier checkpoint"
            raise CodeparrotError(f"the model's probabilities are not finite: {remedy}")
        kinds: dict[Any, list[int]] = {}
        for row, completion in enumerate(completions):
            if completion.rest and completion.vocabulary is not None:
                constrain(logits, row, completion.rest, completion.vocabulary)
            elif completion.unjoined:
                logits[row, [end for end in completion.ends if end < logits.shape[1]]] = -torch.inf
            kinds.setdefault(type(completion.request.sampler), []).append(row)
        for kind, rows in kinds.items():
            own = [completions[row] for row in rows]
            for completion, token in zip(own, kind.draw(logits if len(kinds) == 1 else logits[rows], own), strict=True):
                completion.add(token, self._text)

    def _text(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._piece([token])
        return self._pieces[token]


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; modules that were in training mode return to it afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text according to the tokenizer or the model."""
    of_model = getattr(model.generation_config, "eos_token_id", None)
    listed = of_model if isinstance(of_model, list) else [of_model]
    # The file is somebody else's: whatever is not a number ends nothing.
    return frozenset(token for token in (tokenizer.eos_token_id, *listed) if isinstance(token, int))

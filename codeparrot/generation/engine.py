"""Complete many prompts in one batch that is kept full.

    with Engine(model, tokenizer) as engine:
        completion = engine.submit(Request("def add(a, b):", Nucleus(0.2)))
        for piece in completion:
            print(piece, end="")

Guarantees
- A completion is a function of the model and its request. Batch size, order, neighbours and interruptions do not change it: on
  a CPU in float32 to the last bit, if the batch is filled up to a multiple of ROWS (batch.py) or as was measured (rows.py),
  and the sampler treats each row by itself (sampling.py).
- A completion ends before the first stop text that the model itself wrote, at an end token, or at its longest length. It
  then leaves the batch and another takes its place: nothing waits for the longest.
- A request fails alone where it can be told: a prompt that memory does not suffice for, logits that are not finite (whatever
  was drawn from them would be no sample). The others go on. Memory that does not suffice for a token of all fails all that run.
- Inside `with` the model is in evaluation mode; afterwards its modes and the random state of the process are what they were.

Cost: one forward pass over a prompt for all of its samples that are submitted in a row; then one per token for the whole batch.
With a cache of prefixes (prefixes.py) a prompt is read in blocks, those that are known left out: one, or where the model allows
it (gpt2.py) up to four, between two tokens, so that the others do not wait for a long prompt.
Models whose sequences cannot lie side by side run them one by one (one_by_one.py); the log says so.
"""

import contextlib
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch

from codeparrot.generation.batch import Batch, SlotBatch, obstacle, window
from codeparrot.generation.drawing import Drawing
from codeparrot.generation.failures import no_memory
from codeparrot.generation.healing import vocabulary_of
from codeparrot.generation.one_by_one import OneByOne
from codeparrot.generation.prompts import TooLong, checked, context_length, resolved, warn
from codeparrot.generation.reading import NotInSlots, Reading
from codeparrot.generation.requests import FAILED, Completion, Request
from codeparrot.generation.rows import ROWS

log = logging.getLogger(__name__)


class Engine:
    """Completes submitted requests, first come first served. Enter it before running it."""

    def __init__(
        self, model: Any, tokenizer: Any, batch_size: int = 64, multiple: int | None = ROWS, cache_tokens: int = 0
    ) -> None:
        """
        Args:
            model: a causal language model of transformers, unwrapped (not DDP, DeepSpeed or FSDP).
            tokenizer: its tokenizer.
            batch_size: sequences at a time.
            multiple: the batch is filled up to a multiple of this many rows. With ROWS a completion has the same bits whatever
                is beside it, and the same on machines of one make; 1 is faster for a few sequences. None: as ROWS, but as few
                rows as this machine allows, which is measured, and faster products (rows.py, gpt2.py): for a server.
            cache_tokens: tokens of prompts' beginnings whose keys and values are kept, for a server; 0: none, and a prompt is
                read in one pass. Models that attend to a window of their context keep none.
        """
        self._model, self._tokenizer, self._size = model, tokenizer, batch_size
        self._pending: deque[Completion] = deque()
        self._running: list[Completion] = []
        self._starting: Completion | None = None
        """The completion whose prompt is being read."""
        self._reading: Reading | None = None
        self._context = context_length(model)
        self._ends = end_tokens(model, tokenizer)
        self._obstacle, self._window = obstacle(model), window(model)
        kept = cache_tokens if self._window is None else 0
        self._slots, self._singles = SlotBatch(model, multiple, kept), OneByOne(model)
        self._measures = multiple is None
        self._batch: Batch | None = None
        self._passes_a_step = self._passes_left = 1 if kept else sys.maxsize
        self._entered, self._mode = contextlib.ExitStack(), contextlib.ExitStack()
        self._drawing = Drawing(tokenizer)

    def __enter__(self) -> "Engine":
        self._entered.enter_context(evaluating(self._model))
        self._entered.push(lambda *_: self._mode.close())
        if self._measures and not self._obstacle:
            self._use(self._slots)  # now, and not when the first request waits
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.close()
        self._batch = self._starting = self._reading = None

    def submit(self, request: Request) -> Completion:
        """Queue a request. A prompt that does not fit the context loses its beginning, and `truncated` says so.

        A warning is logged too, unless the request is steady: at every keystroke it would say the same.

        Raises:
            CodeparrotError: the request cannot be met: see `prompts.checked` and `prompts.resolved`.
        """
        return self.queue(*self.resolve(request))

    def resolve(self, request: Request) -> tuple[Request, str]:
        """Return what `queue` takes: the request in tokens, and what is said of text that it loses.

        It takes as long as the text, and may be called in any thread. Samples of one prompt have it in common.

        Raises:
            CodeparrotError: as `submit`.
        """
        size = self._model.config.get_text_config().vocab_size
        lost: list[TooLong] = []
        request = resolved(checked(request, size), self._tokenizer, self._context, lost.append)
        for found in lost if not request.steady else ():
            warn(found)
        return request, "; ".join(found.words for found in lost)

    def queue(self, request: Request, truncated: str = "") -> Completion:
        """Queue a request that `resolve` returned."""
        vocabulary = vocabulary_of(self._tokenizer) if request.begin or request.join else None
        completion = Completion(request, self._tokenizer, self._ends, self.step, vocabulary)
        completion.truncated = truncated
        self._pending.append(completion)
        return completion

    def run(self, broken_off: Callable[[], bool] = lambda: False) -> Iterator[Completion]:
        """Yield each completion as it ends, until none is left.

        Args:
            broken_off: called before each token; True ends the run, and completions keep what they have.

        Raises:
            CodeparrotError: a completion failed.
        """
        while self.busy and not broken_off():
            for completion in self.step():
                completion.raise_failure()
                yield completion

    @property
    def busy(self) -> bool:
        """Whether any completion is unfinished."""
        return bool(self._pending or self._running or self._starting)

    @torch.no_grad()
    def step(self) -> list[Completion]:
        """Fill the batch, give each sequence in it a token, and return the completions that ended."""
        done = self._remove() + self._fill()
        if self._running:
            assert self._batch is not None
            try:
                self._drawing.add(self._running, self._batch.forward([each.ids[-1] for each in self._running]))
            except (MemoryError, RuntimeError) as error:
                self._fail(self._running, error)
            done += self._remove()
        return done

    def _fail(self, completions: list[Completion], error: Exception) -> None:
        """Fail completions for which memory does not suffice; any other error is a defect."""
        known = no_memory(error)
        if known is None:
            raise error
        log.warning("%d of %d completions fail: %s", len(completions), len(self._running), known)
        for completion in completions:
            completion.fail(known)
        if self._batch is not None:
            self._batch.clear()

    def _fill(self) -> list[Completion]:
        """Start requests until the batch is full, and return the completions that end without a second token."""
        # Those that nobody waits for any more do not wait for a place either.
        done, waiting = [], deque[Completion]()
        for each in self._pending:  # looked at once: another thread may cancel it at any time
            (done if each.ended else waiting).append(each)
        self._pending = waiting
        self._passes_left = self._passes_a_step
        while completion := self._next():
            try:
                if not completion.ended and not self._read(completion):
                    break  # those that run get their next token first
                if not completion.ended:
                    self._start(completion)
            except (MemoryError, RuntimeError) as error:
                self._fail([completion], error)
            self._starting = self._reading = None
            if completion.ended:
                done.append(completion)
        return done

    def _next(self) -> Completion | None:
        """Return the completion that starts next, if one can."""
        is_full = len(self._running) >= self._size
        if self._starting is None and not is_full and self._pending and self._choose(self._pending[0]):
            self._starting = self._pending.popleft()
        return self._starting

    def _read(self, completion: Completion) -> bool:
        """Read on in a prompt, as far as one step may; return whether it is read."""
        assert self._batch is not None
        num_likely = completion.request.num_likely if completion.request.of_prompt else None
        if self._reading is None:
            self._reading = self._batch.read(completion.prompt, num_likely)
        while not self._reading.done:
            if not self._passes_left:
                return False
            self._passes_left -= 1
            try:
                self._reading.advance()
            except NotInSlots:
                self._obstacle = "not all their layers are attention"
                self._choose(completion)
                self._reading = self._batch.read(completion.prompt, num_likely)
        return True

    def _choose(self, first: Completion) -> bool:
        """Prepare the kind of batch that a request needs, and return whether it can start: it waits while another kind runs."""
        beyond = self._window is not None and self._window < first.length
        wanted: Batch = self._singles if self._obstacle or beyond else self._slots
        if wanted is self._batch:
            return True
        if self._running:
            return False
        self._use(wanted)
        if wanted is self._singles and len(self._pending) > 1:
            words = self._obstacle or f"they attend to {self._window} tokens, and {first.length} were requested"
            log.warning(f"models of type {self._model.config.model_type} complete one by one: {words}")
        return True

    def _use(self, batch: Batch) -> None:
        self._mode.close()
        self._mode.enter_context(batch.in_use())
        self._batch = batch

    def _start(self, completion: Completion) -> None:
        """Give a completion its first token, and a row where it goes on."""
        assert self._batch is not None and self._reading is not None
        completion.begin(self._reading.cached, self._reading.likelihoods)
        if not completion.ended:
            self._drawing.add([completion], self._reading.logits.clone())  # other samples of the prompt will want them too
        if not completion.ended:
            self._reserve(completion)
            self._batch.put(len(self._running), self._reading)
            self._running.append(completion)

    def _reserve(self, completion: Completion) -> None:
        """Reserve room for as many completions as there are, once for all, but for the length of this one alone.

        A longer one, which memory may not suffice for, would fail it.
        """
        assert self._batch is not None
        waiting = 1 + len(self._running) + len(self._pending)
        self._batch.reserve(min(self._size, waiting), completion.length)

    def _remove(self) -> list[Completion]:
        """Take the completions that have ended out of the batch."""
        done = []
        for row in reversed(range(len(self._running))):
            if self._running[row].ended:
                assert self._batch is not None
                if self._running[row].ended == FAILED:
                    self._batch.wipe(row)
                self._batch.leave(row)
                done.append(self._running[row])
                last = self._running.pop()
                if row < len(self._running):
                    self._running[row] = last
        return done


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


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end a text according to the tokenizer or the model."""
    of_model = getattr(model.generation_config, "eos_token_id", None)
    listed = of_model if isinstance(of_model, list) else [of_model]
    # The file is somebody else's: whatever is not a number ends nothing.
    return frozenset(token for token in (tokenizer.eos_token_id, *listed) if isinstance(token, int))

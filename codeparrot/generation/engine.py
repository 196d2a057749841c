"""Completions of many problems, many samples each, in one batch that is always full.

Guarantees
- A completion is a function of the model, the prompt and (seed, problem, sample, temperature). Batch size, order, number of
  processes and an interruption in between do not change it: on a CPU in float32 to the last bit. By construction, each prompt
  is read by itself, a sequence lies in a slot that begins with it (slots.py), and attention and sampling treat each row by
  itself (attention.py, sampling.py). By measurement, with torch 2.13 and MKL, a matrix product of at least 16 rows, a multiple
  of 16, orders the sums of a row alike whatever the number of rows and threads; one of 1 to 9 rows does not. Tests hold both.
  On GPUs kernels are chosen by size: there completions can differ in the rare place where a last bit decides.
- A completion ends before the first stop text that the model itself wrote, at the end token, or after `max_new_tokens`. It
  leaves the batch there and another takes its place. Nothing waits for the longest.
- The prompt is used as it is, or without the white space at its end where that is asked for. No padding is in front of it.

Cost: one forward pass of the prompt for all samples of a problem; then one a token for the whole batch. Problems with long
prompts come first, so that neighbours are about as long and a lack of memory shows at once.
"""

import ast
import inspect
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import DynamicLayer

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem
from codeparrot.generation.attention import rowwise
from codeparrot.generation.decoding import Decoder, context_length, cut, encode_prompt, evaluating
from codeparrot.generation.sampling import draw, stream
from codeparrot.generation.slots import Slots

ROWS = 16
"""Matrix products of a multiple of so many rows order the sums of each row alike; those of 1 to 9 rows do not."""
GRANULARITY = 64
"""Attention reads a multiple of so many tokens."""


REQUEST = "Complete this Python function. Answer with the whole function in one block of code.\n\n```python\n{prompt}\n```"
CHAT_STOP = ("\n```",)


@dataclass(frozen=True)
class Sampling:
    """What decides a completion beside the model, the prompt, the temperature and the number of the sample."""

    top_p: float = 0.95
    max_new_tokens: int = 256
    seed: int = 0
    strip_prompt: bool = False
    chat: bool = False
    """Whether the model is asked in a conversation, laid out by the tokenizer's template, and answers with a whole function."""


class Job(NamedTuple):
    problem: Problem
    temperature: float
    """0: the likeliest token each time."""
    sample: int


class Completion(NamedTuple):
    job: Job
    text: str
    num_tokens: int
    ended: str
    """What ended it: stop (a stop text), end (the end token) or length."""


def generate(
    model: Any,
    tokenizer: Any,
    jobs: Iterable[Job],
    sampling: Sampling,
    batch_size: int = 64,
    broken_off: Callable[[], bool] = lambda: False,
) -> Iterator[Completion]:
    """Yield the completion of each job as it is done.

    Args:
        model: a causal language model of transformers, unwrapped; its mode is afterwards what it was.
        tokenizer: its tokenizer.
        jobs: what to complete; their order does not matter.
        sampling: how.
        batch_size: sequences at a time.
        broken_off: is asked before each token; True ends the generation, and what is unfinished is lost.

    Raises:
        CodeparrotError: the model is of a kind that can not be sampled this way.
    """
    prompts = {job.problem.task_id: job.problem for job in jobs}
    read = {name: _Prompt.read(model, tokenizer, problem, sampling) for name, problem in prompts.items()}
    # The jobs of a problem one behind the other; the end of the list comes first.
    pending = sorted(
        jobs, key=lambda job: (len(read[job.problem.task_id].ids), job.problem.task_id, job.temperature, job.sample)
    )
    if not pending:
        return
    check_model(model, max(prompt.length for prompt in read.values()))
    with evaluating(model), rowwise(model):
        batch = _Batch(model, tokenizer, sampling, read, min(batch_size, len(pending)))
        while not broken_off():
            yield from batch.fill(pending)
            if not batch.running:
                return
            yield from batch.step(pending)


def check_model(model: Any, length: int) -> None:
    """Check that sequences of `length` tokens can be sampled from a model.

    Raises:
        CodeparrotError: it does not take positions, or remembers its past in another way than as keys and values of all of it.
    """
    config, kind = model.config.get_text_config(), model.config.model_type
    missing = {"position_ids", "past_key_values", "attention_mask", "logits_to_keep"} - set(
        inspect.signature(model.forward).parameters
    )
    if missing:
        raise CodeparrotError(f"models of the type {kind} can not be sampled here: they take no {min(missing)}")
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if others:
        raise CodeparrotError(f"models of the type {kind} can not be sampled here: not all their layers are attention")
    for name, words in (("attn_logit_softcapping", "soft-capped scores"), ("alibi", "ALiBi")):
        if getattr(config, name, None):
            raise CodeparrotError(f"models of the type {kind} can not be sampled here: their attention has {words}")
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo
        window = config.window_size
    if window is not None and window < length:
        raise CodeparrotError(
            f"the model attends to {window} tokens and prompt and completion are {length} long: lower --max_new_tokens"
        )


@dataclass(frozen=True)
class _Prompt:
    """A problem's prompt in tokens."""

    ids: list[int]
    max_new_tokens: int
    text: Decoder
    stop: tuple[str, ...]
    lead: str = ""
    """What comes between the problem's prompt and the text that is generated."""

    @property
    def length(self) -> int:
        """Longest sequence that can come of it, in tokens."""
        return len(self.ids) + self.max_new_tokens

    @staticmethod
    def read(model: Any, tokenizer: Any, problem: Problem, sampling: Sampling) -> "_Prompt":
        if sampling.chat:
            before = _conversation(tokenizer, problem.prompt)
            ids, num_new = encode_prompt(model, tokenizer, "", sampling.max_new_tokens, before)
            # The answer is a whole function, and defines anew what the prompt began.
            lead = "\n\n" if _compiles(problem.prompt) else "\n    pass\n\n"
            return _Prompt(ids, num_new, Decoder(tokenizer, ids), CHAT_STOP, lead)
        text = problem.prompt.rstrip() if sampling.strip_prompt else problem.prompt
        ids, num_new = encode_prompt(model, tokenizer, text, sampling.max_new_tokens)
        return _Prompt(ids, num_new, Decoder(tokenizer, ids), problem.stop)


@dataclass
class _Sequence:
    """A completion that grows."""

    job: Job
    prompt: _Prompt
    random: random.Random
    ids: list[int] = field(default_factory=list)
    tail: str = ""
    ended: str = ""

    @property
    def position(self) -> int:
        """Of the newest token."""
        return len(self.prompt.ids) + len(self.ids) - 1

    def add(self, token: int, piece: str, ends: bool) -> bool:
        """Take a token, and return whether the completion is done."""
        stop = self.prompt.stop
        if ends:
            self.ended = "end"
            return True
        self.ids.append(token)
        # Only when to stop is decided by this: what the completion is, by the whole text.
        self.tail += piece
        if any(word in self.tail for word in stop):
            self.ended = "stop"
        elif len(self.ids) == self.prompt.max_new_tokens:
            self.ended = "length"
        self.tail = self.tail[1 - max(map(len, stop), default=1) :] if len(self.tail) > 64 else self.tail
        return bool(self.ended)

    def completion(self) -> Completion:
        text = self.prompt.lead + cut(self.prompt.text(self.ids), self.prompt.stop)
        return Completion(self.job, text, len(self.ids), self.ended)


class _Batch:
    """The sequences that are being completed, in the first slots of `count`."""

    def __init__(self, model: Any, tokenizer: Any, sampling: Sampling, prompts: dict[str, _Prompt], batch_size: int) -> None:
        self.running: list[_Sequence] = []
        self._model, self._sampling, self._prompts = model, sampling, prompts
        self._device = model.device
        self._size = batch_size
        self._context = context_length(model)
        longest = max(prompt.length for prompt in prompts.values())
        self._slots = Slots(_round_up(batch_size), longest, GRANULARITY, self._device)
        self._ends = _end_tokens(model, tokenizer)
        self._pieces: dict[int, str] = {}
        # A letter before a token: some tokenizers write the first token of a text in another way.
        self._piece = Decoder(tokenizer, tokenizer("a", add_special_tokens=False)["input_ids"])
        self._read: tuple[_Prompt, Any, torch.Tensor] | None = None

    def fill(self, pending: list[Job]) -> Iterator[Completion]:
        """Start jobs until the batch is full, and yield those that end with their first token."""
        while pending and len(self.running) < self._size:
            yield from self._start(pending, len(self.running))

    def _start(self, pending: list[Job], row: int) -> Iterator[Completion]:
        """Start the last of the pending jobs in a free row."""
        job = pending.pop()
        prompt = self._prompts[job.problem.task_id]
        cache, logits = self._read_prompt(prompt)
        sequence = _Sequence(job, prompt, stream(self._sampling.seed, job.problem.task_id, job.sample, job.temperature))
        if self._add([sequence], logits)[0]:
            yield sequence.completion()
            return
        self._slots.put(row, cache, len(prompt.ids))
        self.running[row : row + 1] = [sequence]

    @torch.no_grad()
    def _read_prompt(self, prompt: _Prompt) -> tuple[Any, torch.Tensor]:
        """Return keys and values of a prompt and the logits [1, vocabulary] behind it. Those of the last prompt are kept."""
        if self._read is None or self._read[0] is not prompt:
            self._read = None
            count = _round_up(len(prompt.ids))
            # What is behind the prompt changes nothing before it; its positions may be beyond the context.
            ids = torch.tensor([prompt.ids + [0] * (count - len(prompt.ids))], device=self._device)
            positions = torch.arange(count, device=self._device).clamp(max=(self._context or count) - 1)
            output = self._model(input_ids=ids, position_ids=positions[None], use_cache=True, logits_to_keep=ROWS)
            if not all(isinstance(layer, DynamicLayer) for layer in output.past_key_values.layers):
                kind = self._model.config.model_type
                raise CodeparrotError(f"models of the type {kind} can not be sampled here: not all their layers are attention")
            self._read = prompt, output.past_key_values, output.logits[:, len(prompt.ids) - 1 - count].float()
        return self._read[1:]

    @torch.no_grad()
    def _forward(self) -> torch.Tensor:
        """Give the newest token of each sequence to the model and return the logits behind it."""
        count = _round_up(len(self.running))
        newest = [sequence.ids[-1] for sequence in self.running] + [0] * (count - len(self.running))
        longest = max(sequence.position for sequence in self.running)
        ids = torch.tensor(newest, device=self._device)[:, None]
        output = self._model(input_ids=ids, **self._slots.next_token(count, longest))
        self._slots.advance(len(self.running))
        return output.logits[: len(self.running), -1].float()

    def step(self, pending: list[Job]) -> Iterator[Completion]:
        """Complete each sequence by a token, and yield those that are done; jobs take their places."""
        done = self._add(self.running, self._forward())
        for row in reversed(range(len(done))):
            if not done[row]:
                continue
            yield self.running[row].completion()
            last = self.running.pop()
            if row < len(self.running):
                self._slots.move(len(self.running), row, last.position)
                self.running[row] = last
            self._slots.clear(len(self.running))

    def _add(self, sequences: Sequence[_Sequence], logits: torch.Tensor) -> list[bool]:
        temperatures = [sequence.job.temperature for sequence in sequences]
        tokens = draw(logits, temperatures, self._sampling.top_p, [sequence.random for sequence in sequences])
        return [
            sequence.add(token, self._text(token), token in self._ends)
            for sequence, token in zip(sequences, tokens, strict=True)
        ]

    def _text(self, token: int) -> str:
        if token not in self._pieces:
            self._pieces[token] = self._piece([token])
        return self._pieces[token]


def _conversation(tokenizer: Any, prompt: str) -> list[int]:
    """Return the tokens of a conversation that asks for a function, up to where the answer's code begins.

    Raises:
        CodeparrotError: the tokenizer has no template for conversations.
    """
    if not tokenizer.chat_template:
        raise CodeparrotError("the model's tokenizer has no chat template: leave out --chat")
    asked = [{"role": "user", "content": REQUEST.format(prompt=prompt.rstrip())}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
    return [*ids, *tokenizer("```python\n", add_special_tokens=False)["input_ids"]]


def _compiles(source: str) -> bool:
    """Return whether a source is whole: a signature without a docstring is not."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Return the tokens that end a text, by the tokenizer and by the model."""
    of_model = model.generation_config.eos_token_id
    listed = of_model if isinstance(of_model, list) else [of_model]
    return {token for token in (tokenizer.eos_token_id, *listed) if token is not None}


def _round_up(count: int) -> int:
    return -(-count // ROWS) * ROWS

"""From a prompt to the texts that a model continues it with.

Guarantees: a completion ends before the first stop text that the model itself wrote; what is shown while it grows is always the
beginning of what is returned; a prompt is text, whatever it spells; the context of the model is never exceeded; the model's
modes and the random state of the process are afterwards what they were.
Cost: transformers' own generation, and the decoding of a few tokens a step to look for the stop texts.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

log = logging.getLogger(__name__)


def generate(
    model: Any,
    tokenizer: Any,
    prompt: str,
    config: GenerationConfig,
    seed: int | None,
    stop: Sequence[str],
    show: Callable[[str], None] | None,
    broken_off: Callable[[], bool] | None = None,
) -> list[str]:
    """Return `config.num_return_sequences` completions; see codeparrot.generation.complete.generate_completions."""
    prompt_ids, config.max_new_tokens = encode_prompt(model, tokenizer, prompt, config.max_new_tokens or 0)
    text = Decoder(tokenizer, prompt_ids)
    inputs = torch.tensor([prompt_ids], device=model.device)
    criteria: list[StoppingCriteria] = [StopAtText(text, stop)]
    if broken_off is not None:
        criteria.append(BrokenOff(broken_off))
    with evaluating(model), _random_state(model.device, seed):
        sequences = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=config,
            stopping_criteria=StoppingCriteriaList(criteria),
            streamer=Stream(text, stop, show) if show else None,
        )
    return [cut(text(ids), stop) for ids in sequences[:, len(prompt_ids) :].tolist()]


def encode_prompt(model: Any, tokenizer: Any, prompt: str, num_new: int, before: Sequence[int] = ()) -> tuple[list[int], int]:
    """Return the tokens of a prompt, as many of its last ones as the context holds, and how many new ones have room there.

    The prompt is text, whatever it spells; an empty one is the end of another document. Tokens may be put before it.
    """
    options = {"split_special_tokens": True, "verbose": False, "add_special_tokens": not before}
    ids = [*before, *tokenizer(prompt, **options)["input_ids"]] or [tokenizer.eos_token_id]
    num_used, num_new = _share_context(len(ids), num_new, context_length(model))
    return ids[-num_used:], num_new


def context_length(model: Any) -> int | None:
    """Return how many tokens a model can read, or None where it knows no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def cut(text: str, stop: Sequence[str]) -> str:
    """Return `text` up to the first of the stop texts in it, without white space at its end."""
    ends = [position for word in stop if (position := text.find(word)) >= 0]
    return text[: min(ends, default=len(text))].rstrip()


def settled(text: str, stop: Sequence[str]) -> str:
    """Return the part of `text` that its completion will begin with, whatever follows."""
    if any(word in text for word in stop):
        return cut(text, stop)
    # The last bytes of a text may be the first of a character, which decodes to U+FFFD until the others have come.
    known = text.rstrip("\ufffd")
    # The start of a stop text may yet turn out to be one, and then it goes with the white space before it.
    begun = (length for word in stop for length in range(1, len(word)) if known.endswith(word[:length]))
    return known[: len(known) - max(begun, default=0)].rstrip()


@dataclass(frozen=True)
class Decoder:
    """The text of tokens that follow a prompt."""

    tokenizer: Any
    prompt_ids: Sequence[int]

    def __call__(self, ids: Sequence[int]) -> str:
        # Some tokenizers drop the space before the first token of a text: decode behind the last token of the prompt.
        before = list(self.prompt_ids[-1:])
        return self._decode([*before, *ids])[len(self._decode(before)) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class StopAtText(StoppingCriteria):
    """Ends a sequence when its newest token completes a stop text; what the prompt holds does not count."""

    def __init__(self, text: Decoder, stop: Sequence[str]) -> None:
        self.text = text
        self.stop = stop
        # Every token of a stop text is at least one byte of it.
        self.window = 1 + max((len(word.encode()) for word in stop), default=0)

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        newest = max(len(self.text.prompt_ids), input_ids.shape[1] - self.window)
        tails = [self.text(ids) for ids in input_ids[:, newest:].tolist()] if self.stop else [""] * len(input_ids)
        return torch.tensor([any(word in tail for word in self.stop) for tail in tails], device=input_ids.device)


class BrokenOff(StoppingCriteria):
    """Ends all sequences when it is asked for."""

    def __init__(self, asked: Callable[[], bool]) -> None:
        self.asked = asked

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.full((len(input_ids),), self.asked(), device=input_ids.device)


class Stream(BaseStreamer):
    """Shows one completion piece by piece; the pieces joined are what is returned in the end."""

    def __init__(self, text: Decoder, stop: Sequence[str], show: Callable[[str], None]) -> None:
        self.text = text
        self.stop = stop
        self.show = show
        self.ids: list[int] | None = None
        self.shown = 0

    def put(self, value: torch.Tensor) -> None:
        if self.ids is None:  # the first call brings the prompt
            self.ids = []
            return
        self.ids += value.flatten().tolist()
        self._show(settled(self.text(self.ids), self.stop))

    def end(self) -> None:
        self._show(cut(self.text(self.ids or []), self.stop))

    def _show(self, text: str) -> None:
        if len(text) > self.shown:
            self.show(text[self.shown :])
            self.shown = len(text)


def _share_context(num_prompt: int, num_new: int, context: int | None) -> tuple[int, int]:
    """Return how many tokens of the prompt, its last ones, and how many new ones are used.

    The prompt gives way to the new tokens down to half the context; beyond that they give way to it.
    """
    if context is None or num_prompt + num_new <= context:
        return num_prompt, num_new
    new = min(num_new, max(context - num_prompt, context // 2))
    used = min(num_prompt, context - new)
    if used < num_prompt:
        kept = f"the last {used} of its {num_prompt} tokens are used"
        log.warning(f"the prompt is too long: {kept} (the context holds {context}, {new} of them new)")
    return used, new


@contextlib.contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode; what was training trains again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _random_state(device: torch.device, seed: int | None) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if seed is None:
            torch.seed()
        else:
            torch.manual_seed(seed)
        yield

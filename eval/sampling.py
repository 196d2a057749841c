"""Samples of a task from a model: their names, and the requests that the engine completes for them.

Guarantee: a sample is a function of the model, the request of its problem, and (seed, problem, sample, temperature).
Cost: long prompts come first, so that neighbours have similar lengths and a lack of memory shows at once.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from codeparrot.eval.problems.problem import P, Question
from codeparrot.eval.task import Task
from codeparrot.generation.requests import Completion, Request
from codeparrot.generation.sampling import Nucleus

log = logging.getLogger(__name__)


class Key(NamedTuple):
    """Names a sample."""

    task_id: str
    temperature: float
    """0: the likeliest token each time."""
    sample: int


@dataclass(frozen=True)
class Sampling:
    """Settings that decide a completion besides the model, its request, the temperature and the sample's number."""

    top_p: float = 0.95
    max_new_tokens: int = 256
    seed: int = 0


class Sample(NamedTuple):
    key: Key
    text: str
    num_tokens: int
    ended: str
    """Why it ended: stop (a stop text), end (the end token) or length."""
    prompt_cut: bool = False
    """Whether the prompt lost its beginning, because the model's context has no room for it."""
    healed: bool = False
    """Whether the end of the prompt was taken back, so that its first token could begin there."""

    def line(self) -> dict[str, Any]:
        """Return its line of samples.jsonl."""
        return {
            "task_id": self.key.task_id,
            "completion": self.text,
            "temperature": self.key.temperature,
            "sample": self.key.sample,
            "ended": self.ended,
            **({"prompt_cut": True} if self.prompt_cut else {}),
            **({"healed": True} if self.healed else {}),
        }


def wanted(problems: Iterable[Question], temperatures: Sequence[float], num_samples: int) -> list[Key]:
    """Return the samples of an evaluation. At temperature 0 all samples of a problem are the same: there is one."""
    return [
        Key(problem.task_id, temperature, sample)
        for problem in problems
        for temperature in temperatures
        for sample in range(num_samples if temperature > 0 else 1)
    ]


def generate(
    model: Any,
    tokenizer: Any,
    task: Task[P],
    problems: Iterable[P],
    keys: Iterable[Key],
    sampling: Sampling,
    batch_size: int = 64,
    broken_off: Callable[[], bool] = lambda: False,
) -> Iterator[Sample]:
    """Yield each sample as it ends.

    Args:
        model: a causal language model of transformers, unwrapped; its mode is restored afterwards.
        tokenizer: its tokenizer.
        task: makes the requests.
        problems: at least those of the samples.
        keys: the samples; their order does not matter.
        sampling: how they are drawn.
        batch_size: samples at a time.
        broken_off: called before each token; True ends the generation, and unfinished samples are lost.
    """
    from codeparrot.generation.engine import Engine
    from codeparrot.generation.prompts import TooLong, context_length, resolved

    keys = list(keys)
    named = {key.task_id for key in keys}
    by_name = {problem.task_id: problem for problem in problems if problem.task_id in named}
    asked: dict[str, Request] = {}
    cut: dict[str, TooLong] = {}
    for name, problem in by_name.items():
        request = replace(task.request(problem, tokenizer), max_new_tokens=sampling.max_new_tokens)
        # Done once for all samples of a problem, and said once for all problems.
        asked[name] = resolved(request, tokenizer, context_length(model), partial(cut.__setitem__, name))
    if cut:
        lost = "their beginning" if all(asked[name].suffix is None for name in cut) else "text far from the gap"
        words = f"{len(cut)} of {len(asked)} prompts are too long for the model and lose {lost}"
        longest = max(each.num_tokens for each in cut.values())
        log.warning(f"{words} (the longest has {longest} tokens, the context holds {context_length(model)}, new ones included)")
    # Keep the samples of a problem next to each other.
    keys.sort(key=lambda key: (len(asked[key.task_id].prompt), key), reverse=True)
    with Engine(model, tokenizer, batch_size) as engine:
        submitted: dict[Completion, Key] = {}
        for key in keys:
            names = (sampling.seed, key.task_id, key.sample, key.temperature)
            sampler = Nucleus(key.temperature, sampling.top_p, names)
            submitted[engine.submit(replace(asked[key.task_id], sampler=sampler))] = key
        for done in engine.run(broken_off):
            key = submitted.pop(done)
            text = task.answer(by_name[key.task_id], done.text)
            yield Sample(key, text, len(done.ids), done.ended, key.task_id in cut, done.healed)

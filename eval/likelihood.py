"""How likely a model finds the solutions of problems, in bits a byte: a measure of models that solve none of them yet.

The bits of a solution are those of its tokens, each predicted from all text before it. Prompt and solution are encoded as one
text, because the prompt's own tokens may end where those of a program never do. A token that holds the end of the prompt and
the beginning of the solution counts whole, so a solution has at most a few bits too many, and never too few. White space at its
end is left out: the token that it is part of depends on what comes behind.

Bits of a byte are a mean over problems, so that each counts the same, as in pass@k. Bytes are those of the solution alone, and
tokenizers can be compared.
Cost: one forward pass of each prompt with its solution.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from codeparrot.eval.problems.problem import ProblemSet
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.tasks.perplexity import bytes_per_token
from codeparrot.generation.prompts import encode_prompt
from codeparrot.loading import largest_id
from codeparrot.model import IGNORED


class Solved(Protocol):
    """A problem with a reference solution."""

    @property
    def task_id(self) -> str: ...

    @property
    def prompt(self) -> str: ...

    @property
    def canonical_solution(self) -> str: ...


def load_solved(name: str) -> ProblemSet[Any]:
    """Return a set of problems by its name (problems/sets.py)."""
    return load_problems(name)


class Solution(NamedTuple):
    """A solution behind its prompt, in tokens."""

    task_id: str
    ids: list[int]
    begin: int
    """Index of the first token that counts; at least 1."""
    num_bytes: int
    """Of the solution alone."""


def solutions_of(problems: Iterable[Solved], tokenizer: Any) -> list[Solution]:
    """Return the solutions of the problems that have one."""
    sizes = bytes_per_token(tokenizer, largest_id(tokenizer) + 1).tolist()
    return [
        _behind_prompt(problem, solution, tokenizer, sizes)
        for problem in problems
        if (solution := problem.canonical_solution.rstrip())
    ]


def _behind_prompt(problem: Solved, solution: str, tokenizer: Any, sizes: Sequence[int]) -> Solution:
    ids, num_bytes = encode_prompt(tokenizer, problem.prompt + solution), len(solution.encode())
    begin, missing = len(ids), num_bytes
    while missing > 0 and begin > 0:
        begin -= 1
        missing -= sizes[ids[begin]]
    # The first token needs one before it.
    ids, begin = (ids, begin) if begin else ([tokenizer.eos_token_id, *ids], 1)
    return Solution(problem.task_id, ids, begin, num_bytes)


class _Window(NamedTuple):
    solution: int
    """Index of its solution."""
    ids: list[int]
    begin: int


def _windows(solutions: Sequence[Solution], context: int | None) -> Iterator[_Window]:
    """Yield windows that predict each token that counts once, from at least half a context or all that is before it."""
    for index, solution in enumerate(solutions):
        ids, begin = solution.ids, solution.begin
        longest = context or len(ids)
        while begin < len(ids):
            end = min(len(ids), max(longest, begin + longest // 2))
            first = max(0, end - longest)
            yield _Window(index, ids[first:end], begin - first)
            begin = end


def bits(
    model: Any,
    solutions: Sequence[Solution],
    *,
    context: int | None,
    batch_tokens: int,
    device: Any,
    rank: int = 0,
    world_size: int = 1,
    add_up: Callable[[Any], Any] = lambda sums: sums,
    progress: Callable[[], object] = lambda: None,
    broken_off: Callable[[], bool] = lambda: False,
) -> list[float] | None:
    """Return the bits of each solution, or None if that was broken off. All processes call this with the same solutions.

    Args:
        model: a LanguageModel; called as model(input_ids, labels, reduction="windows").
        solutions: what to predict.
        context: most tokens that the model can read, or None for no limit.
        batch_tokens: most tokens in a forward pass; at least one solution is in it.
        device: where to compute.
        rank: of this process, among `world_size`.
        world_size: processes that share the work.
        add_up: sums a tensor over all processes.
        progress: called after each batch.
        broken_off: called after each batch; True, on all processes alike, ends it.
    """
    import torch

    windows = sorted(_windows(solutions, context), key=lambda window: -len(window.ids))
    batches = list(_batches(windows, batch_tokens, most=-(-len(windows) // world_size)))
    nats = torch.zeros(len(solutions), dtype=torch.float32, device=device)
    was_training = model.training
    model.eval()
    # Not inference_mode: the next training step could not use what a sharded model gathers in it.
    with torch.no_grad():
        # All processes run the same number of batches, or they would wait for each other.
        for number in range(rank, rank + len(batches) + -len(batches) % world_size, world_size):
            batch = batches[number] if number < len(batches) else []
            input_ids, labels, owners = (torch.tensor(rows, device=device) for rows in _padded(batch))
            nats.index_add_(0, owners, model(input_ids, labels, reduction="windows").float())
            progress()
            if broken_off():
                break
        else:
            model.train(was_training)
            return [value / math.log(2) for value in add_up(nats).tolist()]
    model.train(was_training)
    return None


def _batches(windows: Sequence[_Window], batch_tokens: int, most: int) -> Iterator[Sequence[_Window]]:
    """Yield windows, the longest first, in batches of at most so many tokens and windows."""
    start = 0
    while start < len(windows):
        size = max(1, min(most, batch_tokens // len(windows[start].ids)))
        yield windows[start : start + size]
        start += size


def _padded(batch: Sequence[_Window]) -> tuple[list[list[int]], list[list[int]], list[int]]:
    """Return input ids, labels and the windows' solutions. A batch of nothing predicts nothing."""
    longest = max((len(window.ids) for window in batch), default=2)
    inputs = [window.ids + [0] * (longest - len(window.ids)) for window in batch]
    labels = [
        [IGNORED] * window.begin + window.ids[window.begin :] + [IGNORED] * (longest - len(window.ids)) for window in batch
    ]
    return inputs or [[0] * longest], labels or [[IGNORED] * longest], [window.solution for window in batch] or [0]

"""How likely a model finds the solutions of problems, in bits a byte: a measure of models that solve none of them yet.

The bits of a solution are those of its tokens, each predicted from all text before it. Prompt and solution are encoded as one
text, because the prompt's own tokens may end where those of a program never do. A token that holds the end of the prompt and
the beginning of the solution counts whole, so a solution has at most a few bits too many, and never too few. White space at its
end is left out: the token that it is part of depends on what comes behind. A middle is encoded by itself, between its sides, as
in training (prefix, suffix, middle), and the end token behind it does not count.

Bits a byte are a mean over problems, so that each counts the same, as in pass@k. Bytes are those of the solution alone, and
tokenizers can be compared.
Cost: one forward pass of each prompt with its solution.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from codeparrot.eval.problems.infilling import KINDS, Gap, functions, load_gaps
from codeparrot.eval.problems.problem import Problem, ProblemSet
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.tasks.perplexity import bytes_per_token
from codeparrot.generation.infill import NUM_SENTINELS, arranged, shares
from codeparrot.generation.prompts import encode_prompt
from codeparrot.loading import largest_id
from codeparrot.location import path_of
from codeparrot.model import IGNORED
from codeparrot.stream.sentinels import Sentinels, require_sentinels
from codeparrot.text_files import json_lines


def load_solved(name: str) -> ProblemSet[Any]:
    """Return a set of problems, or of gaps.

    Args:
        name: of a set of problems (problems/sets.py); `infilling`, the project's own gaps; `infilling-KIND`, those of a kind
            (problems/infilling.py); a file of gaps.

    Raises:
        CodeparrotError: there is no such set, it cannot be reached, or one of its lines is neither a problem nor a gap.
    """
    if name == "infilling":
        return load_gaps("own")
    if path_of(name).is_file():
        first = next((row for _, row in json_lines(path_of(name))), None)
        return load_gaps(name) if isinstance(first, dict) and "suffix" in first else load_problems(name)
    if name.startswith(GAPS):
        return load_gaps(name.removeprefix(GAPS))
    return load_problems(name, ["infilling", *(f"{GAPS}{kind}" for kind in KINDS)])


GAPS = "infilling-"


class Solution(NamedTuple):
    """A solution behind its prompt, in tokens."""

    task_id: str
    ids: list[int]
    begin: int
    """Index of the first token that counts; at least 1."""
    num_bytes: int
    """Of the solution alone."""
    group: int | None = None
    """Number of the function that a middle belongs to: the middles of one are not independent."""


class Solutions(NamedTuple):
    """The solutions of a set, and how many of its problems are left out."""

    found: list[Solution]
    without_solution: int
    """Problems with no reference solution, or an empty one."""
    too_long: int
    """Middles that the model's context cannot hold."""

    def left_out(self) -> list[str]:
        """Return a line for each reason to leave problems out."""
        counts = {"with no reference solution": self.without_solution, "longer than the model's context": self.too_long}
        return [f"problems {reason} are left out: {count}" for reason, count in counts.items() if count]


def solutions_of(problems: Iterable[Any], tokenizer: Any, context: int | None) -> Solutions:
    """Return the solutions of problems, and the middles of gaps.

    Args:
        problems: of either kind (`load_solved`).
        tokenizer: of the model.
        context: most tokens that the model can read, or None for no limit.

    Raises:
        CodeparrotError: there are gaps, and the tokenizer has no sentinels.
    """
    problems = list(problems)
    gaps = [problem for problem in problems if isinstance(problem, Gap)]
    groups, sentinels = functions(gaps), require_sentinels(tokenizer, "the likelihood of middles") if gaps else None
    sizes = bytes_per_token(tokenizer, largest_id(tokenizer) + 1).tolist()
    found: list[Solution] = []
    without = 0
    for problem in problems:
        if not problem.canonical_solution.strip():
            without += 1
        elif sentinels is None:
            found.append(_behind_prompt(problem, problem.canonical_solution.rstrip(), tokenizer, sizes))
        elif middle := _between_sides(problem, tokenizer, sentinels, context):
            found.append(middle._replace(group=groups[problem.task_id]))
    return Solutions(found, without, len(problems) - without - len(found))


def _between_sides(gap: Gap, tokenizer: Any, sentinels: Sentinels, context: int | None) -> Solution | None:
    """Return a middle between its sides; None if the context cannot hold it. The sides lose what a prompt's would."""
    prefix, suffix, middle = (
        tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        for text in (gap.prompt, gap.suffix, gap.canonical_solution)
    )
    if context is not None:
        room = context - NUM_SENTINELS - len(middle)
        if room < 0:
            return None
        before, behind = shares(len(prefix), len(suffix), room)
        prefix, suffix = prefix[len(prefix) - before :], suffix[:behind]
    sides = arranged("psm", sentinels, prefix, suffix)
    return Solution(gap.task_id, [*sides, *middle], len(sides), len(gap.canonical_solution.encode()))


def _behind_prompt(problem: Problem, solution: str, tokenizer: Any, sizes: Sequence[int]) -> Solution:
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

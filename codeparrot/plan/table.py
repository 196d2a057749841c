"""The table of launch/README.md: memory of a GPU for weights, gradients and AdamW, by strategy."""

from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple

from codeparrot.config import Config, OptimConfig
from codeparrot.model.families import model_config, num_parameters
from codeparrot.plan.gpus import GB
from codeparrot.plan.ledger import ACTIVATIONS, LOGITS
from codeparrot.plan.memory import STRATEGIES, Memory, Strategy, model_of
from codeparrot.plan.trace import Tracer
from codeparrot.result import Result, say
from codeparrot.stream.batches import Batches


class Case(NamedTuple):
    """A column."""

    name: str
    width: int
    layers: int
    heads: int
    processes: int


CASES = (
    Case("small", 768, 12, 12, 8),
    Case("xl", 1600, 48, 25, 8),
    Case("xl", 1600, 48, 25, 16),
    Case("7B", 4096, 34, 32, 32),
)


def table() -> Result:
    """Return the table in Markdown, in GB, and its numbers in bytes."""
    say("tracing steps on fake tensors")
    columns = [_column(case) for case in CASES]
    names = [f"{case.name}, {size}, W = {case.processes}" for case, (size, _) in zip(CASES, columns, strict=True)]
    head = ["", "bytes a parameter", *names]
    rows = [[each.name, each.formula, *(f"{held[each.name] / GB:.1f}" for _, held in columns)] for each in STRATEGIES]
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    facts = [{**case._asdict(), "bytes": held} for case, (_, held) in zip(CASES, columns, strict=True)]
    return Result("\n".join(lines).replace("|  |", "| |"), {"columns": facts})


@cache
def _traced(width: int, layers: int, heads: int) -> tuple[Any, Tracer]:
    """Return a model's transformers config, and the tracer of its steps, which columns of the same model share."""
    config = Config()
    config.train.micro_batch_size, config.train.activation_checkpointing = 1, "full"
    config.train.precision, config.stream.seq_length = "bf16", 64
    sizes = {"n_embd": width, "n_layer": layers, "n_head": heads, "vocab_size": 32768, "n_positions": 1024}
    settings = model_config({"family": "gpt2", **sizes, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0})
    return settings, Tracer(config, settings, on_gpu=True)


def _column(case: Case) -> tuple[str, dict[str, float]]:
    """Return the size of a model in words, and what each strategy holds besides activations and logits, in bytes."""
    settings, tracer = _traced(case.width, case.layers, case.heads)
    batches = Batches(((0, 2 * case.processes),))
    memory = Memory(tracer, model_of(settings, "bf16", asdict(OptimConfig())), batches, case.processes)
    parameters = num_parameters(settings)
    size = f"{parameters / 1e9:.3g}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"
    return size, {strategy.name: states(memory, strategy) for strategy in STRATEGIES}


def states(memory: Memory, strategy: Strategy) -> float:
    """Return the most that a step with two micro-batches of few tokens holds besides activations and logits."""
    phases: dict[str, Any] = memory.phases(strategy, 1)
    return max(sum(size for name, size in held.items() if name not in (ACTIVATIONS, LOGITS)) for held in phases.values())

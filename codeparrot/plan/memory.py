"""The peak memory of a process, by category, for every way to launch a run.

What the model, the loss, autograd and torch's FSDP2 hold is traced (trace.py). What DDP and DeepSpeed add are the formulas
here, with the parameters that they depend on in one place each. benchmarks/plan.py holds both to real processes.
"""

import importlib.resources
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from codeparrot.model.families import without_weights
from codeparrot.optim import load_optimizer
from codeparrot.optim.optimizer import cost_of, kept_numbers
from codeparrot.plan.blocks import blocks
from codeparrot.plan.ledger import ACTIVATIONS, BUCKETS, CATEGORIES, GATHERS, GRADIENTS, LOGITS, OPTIMIZER, PARAMETERS, Bytes
from codeparrot.plan.trace import Step, Style, Tracer
from codeparrot.stream.batches import Batches

ZERO3_LIVE_PARAMETERS = 1_000_000_000
"""DeepSpeed's stage3_max_live_parameters and stage3_max_reuse_distance: it keeps so many gathered parameters."""
ZERO_BUCKETS = 2
"""ZeRO-1 and 2 fill one bucket while another travels (overlap_comm)."""


class Model(NamedTuple):
    """The numbers of a model that formulas need."""

    parameters: int
    largest: int
    """Numbers in the largest tensor: the embeddings, whose gradient is complete at the end."""
    layer: int
    """Parameters of a layer."""
    width: int
    element_bytes: int
    """Of the type of the computation."""
    moments: float
    """Tensors that the optimizer keeps for each parameter."""
    update_bytes: int
    """At most, of an update where processes hold pieces: buffers of the exchange, and what is computed in (optim.exchange)."""


@dataclass(frozen=True)
class Strategy:
    name: str
    launch: str
    """File in launch/."""
    style: Style
    holds: Callable[[Bytes, str, Step, Model], Bytes]
    """Returns what a process holds in a phase, from what the trace shows of it."""
    formula: str
    """Bytes a parameter of weights, gradients, AdamW and what they travel in, in bf16, where a step has several micro-batches.
    W: processes. The GB are buckets, whatever the size of the model."""


@dataclass(frozen=True)
class Need:
    """The peak of a step."""

    strategy: Strategy
    micro_batch: int
    phase: str
    bytes: Bytes

    @property
    def total(self) -> float:
        return sum(self.bytes.values())


def _replicated(traced: Bytes, phase: str, step: Step, model: Model) -> Bytes:
    if step.world_size == 1:
        return traced
    # Gradients are views of DDP's buckets, and stay from step to step.
    return traced | {GRADIENTS: 4 * model.parameters}


def _fsdp(traced: Bytes, phase: str, step: Step, model: Model) -> Bytes:
    if phase == "update":
        # The exchange fills all its buffers only with more matrices than the traced layers have.
        return traced | {ACTIVATIONS: max(traced[ACTIVATIONS], model.update_bytes)}
    # While the gradients of a layer travel, those of the next one may already be complete (measured: now and then).
    return traced | {BUCKETS: traced[BUCKETS] + 4 * model.layer} if "backward" in phase else traced


def _zero(stage: int) -> Callable[[Bytes, str, Step, Model], Bytes]:
    settings = json.loads((importlib.resources.files("codeparrot.launch") / f"zero{stage}.json").read_text(encoding="utf-8"))
    bucket = settings["zero_optimization"].get("reduce_bucket_size", "auto")
    live = settings["zero_optimization"].get("stage3_max_live_parameters", ZERO3_LIVE_PARAMETERS)

    def holds(traced: Bytes, phase: str, step: Step, model: Model) -> Bytes:
        count, share, sizes = model.parameters, model.parameters / step.world_size, model.element_bytes
        held = traced | {OPTIMIZER: 4 * (1 + model.moments) * share}  # with the float32 weights
        if phase == "update":
            held[ACTIVATIONS] += model.update_bytes
        if stage == 1 and phase == "update":
            held[GRADIENTS] += 4 * share  # its own part in float32
        if stage == 1 and "backward" in phase:
            held[GRADIENTS] = sizes * count  # measured: never less
        if stage > 1:
            begun = step.micro_batches > 1 or "backward" in phase or phase == "update"
            held[GRADIENTS] = 4 * share if begun or stage == 3 else 0
        backward = "backward" in phase
        size = model.width**2 if bucket == "auto" else bucket  # "auto" is Accelerate's
        # Taken whole, whatever the model: ZeRO-3's is always there, ZeRO-1's from the first micro-batch to the last.
        filled, copied = sizes * size, sizes * min(size, count)
        if stage == 3:
            held[BUCKETS] = filled + (copied if backward else 0)  # a full one is copied into the order in which it is sent
        elif backward or (stage == 1 and step.micro_batches > 1 and phase.startswith("last")):
            held[BUCKETS] = ZERO_BUCKETS * filled
        if backward and "embeddings" in phase and model.largest > size:
            held[BUCKETS] += ZERO_BUCKETS * (sizes if stage == 1 else 4) * model.largest  # travels alone
        if stage == 2 and backward and "embeddings" in phase:
            held[GRADIENTS] += copied  # what the last bucket was filled with is freed only after it
        if stage == 3:
            held |= {PARAMETERS: sizes * share, GATHERS: sizes * min(count, live) if phase != "update" else 0}
        return held

    return holds


ONE = Strategy("one process", "ddp.yaml", "autocast", _replicated, "16 + 2 of casts")
STRATEGIES = (
    Strategy("DDP", "ddp.yaml", "autocast", _replicated, "16 + 2 of casts"),
    Strategy("ZeRO-1", "zero1.yaml", "cast", _zero(1), "4 + 16 / W"),
    Strategy("ZeRO-2", "zero2.yaml", "cast", _zero(2), "2 + 16 / W, and 0.3 GB"),
    Strategy("FSDP2", "fsdp.yaml", "fsdp", _fsdp, "16 / W"),
    Strategy("ZeRO-3", "zero3.yaml", "cast", _zero(3), "18 / W + 2 of at most 1B, and 0.2 GB"),
)
"""From the simplest and fastest to those that split the most."""


class Memory:
    """Predicts the memory of a process.

    Args:
        tracer: of the configuration.
        model: its numbers.
        batches: windows of the steps.
        world_size: processes.
    """

    def __init__(self, tracer: Tracer, model: Model, batches: Batches, world_size: int) -> None:
        self._tracer, self._model, self._world_size = tracer, model, world_size
        self._most = batches.largest // world_size
        self._divided = math.gcd(*(size // world_size for size in batches.sizes))

    def need(self, strategy: Strategy, micro_batch: int) -> Need:
        """Return the peak of a step with micro-batches of this many windows."""
        found = self.phases(strategy, micro_batch)
        phase = max(found, key=lambda name: sum(found[name].values()))
        return Need(strategy, micro_batch, phase, found[phase])

    def phases(self, strategy: Strategy, micro_batch: int) -> dict[str, Bytes]:
        """Return what a process holds at the peak of each phase of a step."""
        # ZeRO-3 gathers weights inside of a layer, which then is not compiled.
        compiled = strategy.name != "ZeRO-3"
        step = Step(strategy.style, micro_batch, self._most // micro_batch, self._world_size, compiled)
        return {
            phase: dict.fromkeys(CATEGORIES, 0.0) | strategy.holds(held | self._of_cpu(held, phase), phase, step, self._model)
            for phase, held in self._tracer.phases(step).items()
        }

    def _of_cpu(self, held: Bytes, phase: str) -> Bytes:
        """Return what a CPU holds besides: of the head's gradient in 16 bits, the product in float32 (measured)."""
        extra = 4 * self._model.largest if "loss" in phase and not self._tracer.on_gpu and self._model.element_bytes < 4 else 0
        return {LOGITS: held[LOGITS] + extra}

    def largest(self, strategy: Strategy, room: float) -> Need | None:
        """Return the need of the largest micro-batch that fits into `room` bytes, or None if none does."""
        sizes = [size for size in range(1, self._divided + 1) if self._divided % size == 0]
        found, low, high = None, 0, len(sizes)
        while low < high:
            middle = self._guess(strategy, room, sizes, low, high)
            need = self.need(strategy, sizes[middle])
            if need.total <= room:
                found, low = need, middle + 1
            else:
                high = middle
        return found

    def _guess(self, strategy: Strategy, room: float, sizes: list[int], low: int, high: int) -> int:
        """Return the place, from `low` to before `high`, of the size that should just fit: memory grows evenly with it."""
        one, two = (self.need(strategy, sizes[place]).total for place in (0, min(1, len(sizes) - 1)))
        slope = (two - one) / max(1, sizes[min(1, len(sizes) - 1)] - sizes[0])
        fits = [place for place in range(low, high) if one + slope * (sizes[place] - sizes[0]) <= room]
        return max(low, min(high - 1, fits[-1] if fits else low))


def model_of(settings: Any, precision: str, optim: Mapping[str, Any]) -> Model:
    """Return the numbers of a model, from its transformers config and the section `optim` of the run's."""
    model = without_weights(settings)
    weights = [weight.numel() for weight in model.parameters()]
    layer = max((sum(weight.numel() for weight in each.parameters()) for each in blocks(model, settings)), default=0)
    kind = load_optimizer(optim)
    moments, cost = kept_numbers(kind, model, optim) / sum(weights), cost_of(kind, model, optim, 1)
    width, element = settings.get_text_config().hidden_size, 4 if precision == "fp32" else 2
    return Model(sum(weights), max(weights), layer, width, element, moments, cost.working_bytes + cost.exchange_bytes)


def simplest(needs: Iterable[Need], room: float) -> Need | None:
    """Return the first that fits."""
    return next((need for need in needs if need.total <= room), None)

"""The whole forecast of a run: its parts put together, and the way to launch it chosen."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from codeparrot.config import Config
from codeparrot.plan import sizes as counting
from codeparrot.plan import speed as speeds
from codeparrot.plan.gpus import Device, device, precision_on
from codeparrot.plan.memory import ONE, STRATEGIES, Memory, Need, Strategy, model_of, simplest
from codeparrot.plan.trace import Tracer
from codeparrot.result import say

if TYPE_CHECKING:
    from codeparrot.plan.command import Plan


@dataclass(frozen=True)
class Way:
    """One way to launch the run."""

    strategy: Strategy
    need: Need
    """At train.micro_batch_size."""
    largest: Need | None
    """At the largest micro-batch that fits; None: none does, or the device's memory is not known."""


@dataclass(frozen=True)
class Forecast:
    plan: "Plan"
    device: Device
    sizes: counting.Sizes
    ways: list[Way]
    chosen: Way | None
    """None: the run does not fit."""
    advice: str
    """What to change where the micro-batch or the run does not fit; empty: nothing."""
    traced_layers: str
    speed: speeds.Speed | None
    times: speeds.Times | None
    checkpoints: counting.Checkpoints

    @property
    def gpu_hours(self) -> float | None:
        return self.times.total / 3600 * self.plan.gpus if self.times else None


def forecast(plan: "Plan") -> Forecast:
    """Return what a run will need.

    Raises:
        CodeparrotError: no model can be built from the settings, or the GPU or the run to compare with is not known.
    """
    say("loading PyTorch and building the model without weights")
    chosen_device = device(plan.gpu, plan.gpus)
    plan = replace(plan, train=replace(plan.train, precision=precision_on(chosen_device, plan.train.precision)))
    settings = counting.model_settings(plan)
    counted = counting.count(plan, settings, counting.corpus_of(plan, plan.corpus_tokens))
    found = _speed(plan, settings, counted.flops_per_token, chosen_device)
    say("tracing a step on fake tensors")
    ways, layers = ways_of(plan, settings, chosen_device)
    chosen = _chosen(plan, ways, chosen_device)
    together = plan.gpus if chosen and chosen.strategy.launch in ("fsdp.yaml", "zero3.yaml") else 1
    times = None
    if found:
        problems = speeds.problems_of(plan)
        times = speeds.times(plan, found.tokens_per_second, problems, plan.hours, chosen_device.on_gpu, together)
    return Forecast(
        plan=plan,
        device=chosen_device,
        sizes=counted,
        ways=ways,
        chosen=chosen,
        advice=_advice(plan, ways, chosen, chosen_device),
        traced_layers=layers,
        speed=found,
        times=times,
        checkpoints=counting.checkpoints_of(plan, counted.parameters, times.total if times else None),
    )


def ways_of(plan: "Plan", settings: object, place: Device) -> tuple[list[Way], str]:
    """Return the ways to launch a run, and how many layers were traced."""
    tracer = Tracer(plan, settings, place.on_gpu)
    numbers = model_of(settings, plan.train.precision, plan.optim.name)
    memory = Memory(tracer, numbers, plan.train.global_batch_size // plan.gpus, plan.gpus)
    strategies = STRATEGIES if plan.gpus > 1 else (ONE,)
    if plan.launch != "auto" and plan.gpus > 1:
        strategies = tuple(each for each in strategies if each.launch == f"{plan.launch}.yaml")
    room = place.room_bytes
    ways = [
        Way(each, memory.need(each, plan.train.micro_batch_size), memory.largest(each, room) if room else None)
        for each in strategies
    ]
    return ways, "extrapolated from 3 and 4 layers" if tracer.extrapolated else "of the whole model"


def _chosen(plan: "Plan", ways: list[Way], place: Device) -> Way | None:
    """Return the simplest way that fits as the recipe says, or with smaller micro-batches."""
    if place.room_bytes is None:
        return ways[0]
    need = simplest((way.need for way in ways), place.room_bytes)
    if need is not None:
        return next(way for way in ways if way.need is need)
    return next((way for way in ways if way.largest is not None), None)


def _advice(plan: "Plan", ways: list[Way], chosen: Way | None, place: Device) -> str:
    if place.room_bytes is None:
        return ""
    if chosen is None:
        more = "" if plan.train.activation_checkpointing == "full" else "train.activation_checkpointing full, "
        if plan.launch != "auto":
            more += "another --launch, "
        return f"it fits in no way that was tried: {more}more or larger GPUs, shorter windows or a smaller model"
    if chosen.need.total > place.room_bytes:
        assert chosen.largest is not None
        return f"train.micro_batch_size {plan.train.micro_batch_size} does not fit; use {chosen.largest.micro_batch}"
    return ""


def _speed(plan: "Plan", settings: object, flops: int, place: Device) -> speeds.Speed | None:
    if plan.like:
        return speeds.of_run(plan.like, flops, plan.gpus)
    if plan.probe:
        say(f"probing {speeds.PROBE_STEPS} steps, at most about {speeds.PROBE_SECONDS:.0f} s")
        return speeds.probed(plan, settings, plan.gpus, plan.micro_batches(plan.gpus))
    return speeds.by_share(place, plan.train.precision, plan.mfu, flops, plan.gpus)


def launch_command(plan: Config, processes: int, way: Way, config: str = "CONFIG") -> str:
    """Return the command that starts the run."""
    micro = way.need.micro_batch if way.largest is None else min(way.need.micro_batch, way.largest.micro_batch)
    override = "" if micro == plan.train.micro_batch_size else f" --train.micro_batch_size {micro}"
    if processes == 1:
        return f"codeparrot train --config {config}{override}"
    launcher = f"accelerate launch --config_file launch/{way.strategy.launch} --num_processes {processes}"
    return f"{launcher} codeparrot/train.py --config {config}{override}"

"""The whole forecast of a run: its parts put together, and the way to launch it chosen."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.figures import size_in_words
from codeparrot.plan import sizes as counting
from codeparrot.plan import speed as speeds
from codeparrot.plan.gpus import Device, device, precision_on
from codeparrot.plan.memory import ONE, STRATEGIES, Memory, Need, Strategy, model_of, simplest
from codeparrot.plan.trace import Tracer
from codeparrot.result import say
from codeparrot.stream.batches import batches_of

if TYPE_CHECKING:
    from codeparrot.plan.command import Plan

GPUS_A_MACHINE = 8
"""Assumed, as on machines with A100, H100, H200 or B200 GPUs."""


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
    def machines(self) -> int:
        """The fewest machines that share the GPUs evenly, at most GPUS_A_MACHINE each; a run on CPUs takes this machine."""
        fewest = -(-self.plan.gpus // GPUS_A_MACHINE) if self.device.on_gpu else 1
        return next(number for number in range(fewest, self.plan.gpus + 1) if self.plan.gpus % number == 0)

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
    say("tracing a step on fake tensors")
    memory, layers = memory_of(plan, settings, chosen_device)
    ways = ways_of(plan, memory, chosen_device)
    chosen = _chosen(plan, ways, chosen_device)
    found = _speed(plan, settings, counted.flops_per_token, chosen_device, memory)
    together = plan.gpus if chosen and chosen.strategy.launch in ("fsdp.yaml", "zero3.yaml") else 1
    times = None
    if found:
        samples = speeds.samples_of(plan)
        times = speeds.times(plan, found.tokens_per_second, samples, plan.hours, chosen_device.on_gpu, together)
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
        checkpoints=counting.checkpoints_of(
            plan, *(counted.parameters, counted.optimizer_numbers), times.total if times else None
        ),
    )


def memory_of(plan: "Plan", settings: object, place: Device) -> tuple[Memory, str]:
    """Return what predicts the memory of a run, and how many layers it traces."""
    tracer = Tracer(plan, settings, place.on_gpu)
    numbers = model_of(settings, plan.train.precision, plan.optimizer_settings())
    memory = Memory(tracer, numbers, batches_of(plan.train), plan.gpus)
    return memory, "extrapolated from 3 and 4 layers" if tracer.extrapolated else "of the whole model"


def ways_of(plan: "Plan", memory: Memory, place: Device) -> list[Way]:
    """Return the ways to launch a run."""
    strategies = STRATEGIES if plan.gpus > 1 else (ONE,)
    if plan.launch != "auto" and plan.gpus > 1:
        strategies = tuple(each for each in strategies if each.launch == f"{plan.launch}.yaml")
    room = place.room_bytes
    return [
        Way(each, memory.need(each, plan.train.micro_batch_size), memory.largest(each, room) if room else None)
        for each in strategies
    ]


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


def _speed(plan: "Plan", settings: object, flops: int, place: Device, memory: Memory) -> speeds.Speed | None:
    if plan.like:
        return speeds.of_run(plan.like, flops, plan.gpus, place)
    if plan.probe:
        return speeds.probed(_probed_config(plan, place, memory), settings, plan.gpus)
    update = speeds.update_of(plan, settings, plan.gpus)
    return speeds.by_share(place, plan.train.precision, plan.mfu, flops, plan.gpus, update)


def _probed_config(plan: "Plan", place: Device, memory: Memory) -> Config:
    """Return the configuration with the micro-batch of a probe, which holds the whole model on one device.

    Raises:
        CodeparrotError: no micro-batch fits.
    """
    if place.room_bytes is None or memory.need(ONE, plan.train.micro_batch_size).total <= place.room_bytes:
        return plan
    fits = memory.largest(ONE, place.room_bytes)
    if fits is None:
        least, room = (size_in_words(size) for size in (memory.need(ONE, 1).total, place.room_bytes))
        reason = f"this one takes {least} at least, and {place.name} has {room} for it"
        raise CodeparrotError(f"--probe runs the whole model on one device: {reason}; take --like RUN or --mfu")
    return replace(plan, train=replace(plan.train, micro_batch_size=fits.micro_batch))


def launch_command(plan: "Plan", way: Way, machines: int) -> str:
    """Return the command that starts the run, on each of its machines."""
    override = _override(plan, way)
    if plan.gpus == 1:
        return f"codeparrot train --config CONFIG{override}"
    several = f" --num_machines {machines} --machine_rank RANK --main_process_ip FIRST --main_process_port 29500"
    launcher = f"accelerate launch --config_file launch/{way.strategy.launch} --num_processes {plan.gpus}"
    return f"{launcher}{several if machines > 1 else ''} codeparrot/train.py --config CONFIG{override}"


def slurm_command(plan: "Plan", way: Way, machines: int, limit: str | None) -> str:
    """Return the command that puts the run into a SLURM queue."""
    strategy = way.strategy.launch.removesuffix(".yaml")
    time = f" --time {limit}" if limit else ""
    resources = f"--nodes {machines} --gpus-per-node {plan.gpus // machines}{time}"
    return f"LAUNCH={strategy} sbatch {resources} slurm/pretrain.sh CONFIG{_override(plan, way)}"


def _override(plan: Config, way: Way) -> str:
    micro = way.need.micro_batch if way.largest is None else min(way.need.micro_batch, way.largest.micro_batch)
    return "" if micro == plan.train.micro_batch_size else f" --train.micro_batch_size {micro}"

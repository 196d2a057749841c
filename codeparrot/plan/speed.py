"""How fast a run goes, by what is known: the user's own runs, a probe on this machine, or a stated share of the peak."""

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.model.families import build_model, without_weights
from codeparrot.model.flops import flops_per_token
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import head_share, lengths_of
from codeparrot.optim import load_optimizer
from codeparrot.optim.optimizer import cost_of
from codeparrot.plan.gpus import Device, float32_peak, measured_peak, peak_of
from codeparrot.plan.runs import read_run
from codeparrot.plan.sizes import shape_of
from codeparrot.result import say
from codeparrot.stream.batches import batches_of

ASSUMED_MFU, ASSUMED_SOURCE = 0.29, "from nanoGPT's README: GPT-2 124M, 4 days on 8 A100"
"""600,000 steps of 491,520 tokens in "about 4 days" on 8 A100 of 40 GB (github.com/karpathy/nanoGPT: README.md and
config/train_gpt2.py) are 106,667 tokens/s each, at 855 MFLOP a token 91 of 312 TFLOP/s."""
PROBE_STEPS, PROBE_SECONDS, FEWEST_PROBES = 20, 60.0, 3
"""A probe takes so many steps of one micro-batch, or as many as fit into this time. The third number is the least, where
compiling took all the time; long steps end it sooner, after a quarter of the time."""
GENERATION_SHARE = 0.1
"""Assumed: a process generates this share of the tokens a second that it trains on."""
STARTUP_SECONDS = {True: 120.0, False: 20.0}
"""Allowed for imports, data and compilation, on a GPU and on a CPU."""
SLACK = 1.1
"""By how much a job's time limit is longer than the prediction."""


@dataclass(frozen=True)
class Speed:
    tokens_per_second: float
    source: str
    update_seconds: float = 0.0
    """Of a step, in which the optimizer multiplies matrices; counted in the tokens a second. Of a run's speed: not known, 0."""


@dataclass(frozen=True)
class Update:
    """What an optimizer computes in a step, beside reading and writing."""

    flops: int
    """In float32, of the process that has the most to do."""
    whole: int
    """Of all processes together."""
    tokens: int
    """Of a step, on average."""


def update_of(config: Config, settings: Any, devices: int) -> Update:
    """Return what the optimizer of a run computes, dealt to its processes."""
    optim = config.optimizer_settings()
    kind, model = load_optimizer(optim), without_weights(settings)
    flops, whole = (cost_of(kind, model, optim, number).flops for number in (devices, 1))
    windows = batches_of(config.train).before(config.train.max_steps) / config.train.max_steps
    return Update(flops, whole, round(windows * config.stream.seq_length))


def of_run(name: str, flops: int, devices: int, place: Device) -> Speed:
    """Return the speed that another run had, scaled by FLOPs a token and by devices, which are taken to be alike.

    Raises:
        CodeparrotError: there is no such run, it has logged no speed yet, or one of the two runs on CPUs and the other on GPUs.
    """
    run = read_run(name)
    if run.kind is not None and (run.kind == "cpu") == place.on_gpu:
        told = "--gpu says which GPU this run is for" if run.kind != "cpu" else "name a run on GPUs, or leave --gpu out"
        raise CodeparrotError(f"--like {name} ran on {run.device}, and this run is for {place.name}: {told}")
    objective, length = load_objective(run.config.objective), run.config.stream.seq_length
    own = flops_per_token(shape_of(run.config), length, head_share(objective), lengths_of(objective, length))
    rate = run.tokens_per_second / run.world_size * own / flops * devices
    alike = f"{run.world_size} x {run.device or 'a device that its log does not name'}"
    return Speed(rate, f"{name}: {run.tokens_per_second:,.0f} tokens/s on {alike}, scaled by FLOPs a token and devices")


def probed(config: Config, settings: Any, devices: int) -> Speed:
    """Train for some steps on made-up tokens on this machine's device, as the loop does, and return the speed.

    A step of the run is all its micro-batches and one update; what processes send to each other is not measured. Products of
    matrices in the update that are dealt to other processes are taken off, at this machine's peak in float32.
    """
    import torch

    from codeparrot.model import attention
    from codeparrot.model.hardware import dtype_of, keep_freed_memory
    from codeparrot.plan.compiled import is_compiled

    say(f"probing {PROBE_STEPS} steps, or as many as fit into a minute; at least one after the first")
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if place.type == "cpu":
        keep_freed_memory()
    compiled = is_compiled(config, place.type == "cuda")
    checkpointing = config.train.activation_checkpointing
    how: Any = {"activation_checkpointing": checkpointing, "compile": compiled}
    how |= {"end_of_document": 0} if config.stream.document_mask else {}
    model = build_model(settings, seed=0, **how).to(place)
    optimizer = load_optimizer(config.optimizer_settings()).build(model, config.optimizer_settings())
    objective = load_objective(config.objective)
    read, written = lengths_of(objective, config.stream.seq_length)
    shape = (config.train.micro_batch_size, read)
    dtype, share = dtype_of(config.train.precision), head_share(objective)
    micro, update = [], []
    began = time.perf_counter()
    for number in range(PROBE_STEPS + 1):
        windows = torch.randint(0, settings.get_text_config().vocab_size, shape, device=place)
        labels = windows if written == read else windows.new_zeros(shape[0], written)
        labels = labels.where(torch.rand(shape, device=place) < share, IGNORED) if share < 1 else labels
        start = _now(place)
        with attention.kernels(place, config.train.attention):
            with torch.autocast(place.type, dtype, enabled=dtype != torch.float32):
                loss = model(windows, labels)
            loss.backward()
        middle = _now(place)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        end = _now(place)
        if number:  # the first warms up
            micro.append(middle - start)
            update.append(end - middle)
        enough = len(micro) >= FEWEST_PROBES or sum(micro) > PROBE_SECONDS / 4
        if enough and time.perf_counter() - began > PROBE_SECONDS:
            break
    micro_batches = config.micro_batches(devices, batches_of(config.train).largest)
    computed, own = update_of(config, settings, devices), statistics.mean(update)
    if elsewhere := computed.whole - computed.flops:
        own = max(own - elsewhere / measured_peak("fp32")[0], own * computed.flops / computed.whole)
    seconds = micro_batches * statistics.mean(micro) + own
    rate = micro_batches * shape[0] * shape[1] / seconds * devices
    here = torch.cuda.get_device_name() if place.type == "cuda" else "this machine's CPU"
    steps = "one step" if len(micro) == 1 else f"{len(micro)} steps"
    times_devices = "" if devices == 1 else f", times {devices}"
    return Speed(rate, f"{steps} probed on {here}, train.micro_batch_size {shape[0]}{times_devices}")


def _now(place: Any) -> float:
    import torch

    if place.type == "cuda":
        torch.cuda.synchronize(place)
    return time.perf_counter()


def by_share(
    device: Device, precision: str, mfu: float, flops: int, devices: int, update: Update | None = None
) -> Speed | None:
    """Return the speed at a share of the peak; None if nobody gave a share and the device's peak is not known.

    What the optimizer multiplies comes on top, at the same share of the peak in float32.

    Args:
        device: of each process.
        precision: of the run.
        mfu: model FLOPs utilisation; 0: the assumed one, on a GPU.
        flops: a token.
        devices: of the run.
        update: of a step; None: it takes no time of its own.

    Raises:
        CodeparrotError: somebody gave a share of a peak that is not known.
    """
    peak = peak_of(device, precision)
    where = f"{device.name}'s data sheet"
    if peak is None and mfu and not device.on_gpu:
        peak, where = measured_peak(precision)
    if peak is None and mfu:
        raise CodeparrotError(
            f"--mfu: no peak of {device.name} in {precision} is known to take a share of; take --like or --probe"
        )
    if peak is None:
        return None
    share, whose = (mfu, "--mfu") if mfu else (ASSUMED_MFU, f"assumed: {ASSUMED_SOURCE}")
    rate, seconds = share * peak * devices / flops, 0.0
    if update and update.flops:
        seconds = update.flops / (share * float32_peak(device))
        rate = update.tokens / (update.tokens / rate + seconds)
    return Speed(rate, f"MFU {100 * share:.3g}% of {peak / 1e12:,.4g} TFLOP/s ({where}), {whose}", seconds)


@dataclass(frozen=True)
class Times:
    """Seconds of a run."""

    training: float
    evaluation: float | None
    """None: the size of the validation set is not known and all of it is measured."""
    pass_at_k: float | None
    startup: float
    fit_steps: int | None
    """Steps that fit into the hours that there are; None: nobody said how many there are."""

    @property
    def total(self) -> float:
        return self.training + (self.evaluation or 0) + (self.pass_at_k or 0) + self.startup


def times(config: Config, tokens_per_second: float, samples: int | None, hours: float, on_gpu: bool, copies: int = 1) -> Times:
    """Return how long a run takes, beside waiting for the disk and for other jobs.

    Args:
        config: of the run.
        tokens_per_second: that it trains on.
        samples: of its measurements by unit tests; None: not known.
        hours: that there are; 0: nobody said.
        on_gpu: whether it is on GPUs.
        copies: how many processes generate the same, because none holds the whole model.
    """
    from codeparrot.training.pass_at_k import MAX_NEW_TOKENS
    from codeparrot.training.validation import FORWARD_SHARE, num_measures, sample_tokens

    train, evaluate = config.train, config.evaluate
    tokens = batches_of(train).before(train.max_steps) * config.stream.seq_length
    training, evaluation = tokens / tokens_per_second, 0.0
    if config.stream.valid and evaluate.every_steps:
        number, sample = 1 + train.max_steps // evaluate.every_steps, sample_tokens(config)
        number *= num_measures(config)
        evaluation = number * sample * FORWARD_SHARE / tokens_per_second if sample else None
    generated = None if samples is None else copies * samples * MAX_NEW_TOKENS
    tested = None if generated is None else generated / (GENERATION_SHARE * tokens_per_second)
    beside = (evaluation or 0) + (tested or 0)
    each = (training + beside) / train.max_steps
    startup = STARTUP_SECONDS[on_gpu]
    fits = max(0, int((3600 * hours - startup) / each)) if hours else None
    return Times(training, evaluation, tested, startup, fits)


def samples_of(config: Config) -> int | None:
    """Return how many samples unit tests during the run take in all; None if their problems are not on this machine."""
    from codeparrot.training.pass_at_k import measurements

    try:
        return sum(
            -(-config.train.max_steps // each.every_steps) * len(each.task.load().first(each.limit)) * each.samples
            for each in measurements(config.evaluate)
        )
    except (CodeparrotError, OSError):
        return None


def time_limit(seconds: float) -> str:
    """Return `--time` of sbatch: with slack, rounded up to the next half an hour."""
    halves = math.ceil(seconds * SLACK / 1800)
    days, rest = divmod(halves * 30, 24 * 60)
    return f"{f'{days}-' if days else ''}{rest // 60:02d}:{rest % 60:02d}:00"

"""Whether the forecasts are true: what a run used beside what would have been predicted for it."""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.figures import size_in_words
from codeparrot.model.hardware import FLOAT32_FLOPS, PEAK_FLOPS, data_sheet_flops
from codeparrot.plan import sizes, speed
from codeparrot.plan.gpus import Device, resident_bytes
from codeparrot.plan.memory import ONE, STRATEGIES, Memory, Strategy, model_of
from codeparrot.plan.report import aligned, hours
from codeparrot.plan.runs import Used, read_run
from codeparrot.plan.trace import Tracer
from codeparrot.result import Result, say
from codeparrot.stream.batches import batches_of

if TYPE_CHECKING:
    from codeparrot.plan.command import Plan


class Row(NamedTuple):
    name: str
    predicted: float | None
    used: float | None
    kind: str
    """bytes, seconds, tokens/s or number."""

    @property
    def ratio(self) -> float | None:
        return self.predicted / self.used if self.predicted is not None and self.used else None


def compare(plan: "Plan") -> Result:
    """Return the table of a run: what is predicted from its configuration, what it used, and the ratio of both.

    Raises:
        CodeparrotError: there is no such run, or it has logged nothing yet.
    """
    used = read_run(plan.check)
    say("tracing a step on fake tensors")
    rows = rows_of(used, plan)
    cells = [[row.name, _words(row.predicted, row.kind), _words(row.used, row.kind), _ratio(row.ratio)] for row in rows]
    head = f"{used.folder}: {used.strategy or 'strategy not known'}, {used.world_size} x {used.device or 'unknown device'}"
    text = "\n".join([head, "", *aligned([["", "predicted", "used", "ratio"], *cells])])
    facts = {row.name: {"predicted": row.predicted, "used": row.used, "ratio": row.ratio, "unit": row.kind} for row in rows}
    return Result(text, {"run": str(used.folder), "strategy": used.strategy, "world_size": used.world_size, "rows": facts})


def rows_of(used: Used, plan: "Plan") -> list[Row]:
    """Return the rows of the table."""
    config = used.config
    settings = sizes.shape_of(config)
    counted = sizes.count(config, settings, sizes.Corpus(None, ""))
    on_gpu = used.kind != "cpu"
    rate = _rate(used, plan, counted.flops_per_token)
    done = dataclasses.replace(config, train=dataclasses.replace(config.train, max_steps=used.steps))
    spent = speed.times(done, used.tokens_per_second, speed.samples_of(done), 0, on_gpu)
    saved = sizes.checkpoints_of(done, counted.parameters, counted.optimizer_numbers, used.wall_seconds)
    trained = batches_of(config.train).before(used.steps) * config.stream.seq_length
    return [
        Row("peak memory of a process", _peak_memory(used, settings), used.peak_memory_bytes, "bytes"),
        Row("speed", rate, used.tokens_per_second, "tokens/s"),
        Row("training", trained / rate if rate else None, used.training_seconds, "seconds"),
        Row("wall time, at the speed it had", spent.total, used.wall_seconds, "seconds"),
        Row("weights in a checkpoint", saved.model_bytes, used.model_bytes, "bytes"),
        Row("state in a checkpoint", saved.state_bytes, used.state_bytes, "bytes"),
        Row("checkpoints on the disk", saved.kept, used.checkpoints, "number"),
    ]


def _peak_memory(used: Used, settings: Any) -> float | None:
    """Return the predicted peak of a process; None if the log does not say whether that was on a GPU."""
    if used.kind is None:
        return None
    config, on_gpu = used.config, used.kind != "cpu"
    numbers = model_of(settings, config.train.precision, config.optimizer_settings())
    memory = Memory(Tracer(config, settings, on_gpu), numbers, batches_of(config.train), used.world_size)
    need = memory.need(_strategy(used), config.train.micro_batch_size)
    return need.total + (0 if on_gpu else resident_bytes())


def _strategy(used: Used) -> Strategy:
    """Return the strategy that the run's log names.

    Raises:
        CodeparrotError: the log does not say it, or names another.
    """
    if used.world_size == 1 and used.strategy in (None, "one process"):
        return ONE
    known = {each.name: each for each in (ONE, *STRATEGIES)}
    if used.strategy not in known:
        raise CodeparrotError(f"{used.folder}: its log names no strategy ({', '.join(known)}); it cannot be compared")
    return known[used.strategy]


def _rate(used: Used, plan: "Plan", flops: int) -> float | None:
    """Return the speed that a plan would have named: of a probe or another run if asked for, else at a share of the peak."""
    peak, float32 = (data_sheet_flops(used.device or "", table) for table in (PEAK_FLOPS, FLOAT32_FLOPS))
    name = used.device or "a device that its log does not name"
    place = Device(name, None, peak, on_gpu=used.kind != "cpu", float32_flops=float32)
    if plan.like:
        return speed.of_run(plan.like, flops, used.world_size, place).tokens_per_second
    if plan.probe:
        return speed.probed(used.config, sizes.shape_of(used.config), used.world_size).tokens_per_second
    update = speed.update_of(used.config, sizes.shape_of(used.config), used.world_size)
    found = speed.by_share(place, used.config.train.precision, plan.mfu, flops, used.world_size, update)
    return found.tokens_per_second if found else None


def _words(value: float | None, kind: str) -> str:
    if value is None:
        return "not known"
    if kind == "bytes":
        return size_in_words(value)
    return hours(value) if kind == "seconds" else f"{value:,.0f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"

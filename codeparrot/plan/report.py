"""A forecast as text for people and as data for programs."""

from dataclasses import asdict
from typing import Any

from codeparrot.figures import count_in_words, size_in_words
from codeparrot.location import without_credentials
from codeparrot.plan.forecast import Forecast, Way, launch_command, slurm_command
from codeparrot.plan.gpus import GB
from codeparrot.plan.ledger import CATEGORIES
from codeparrot.plan.sizes import CHINCHILLA
from codeparrot.plan.speed import GENERATION_SHARE, time_limit

_NAME = 13
"""Columns of the word that begins a line."""


def as_text(found: Forecast) -> str:
    """Return the forecast in lines and one table, with units."""
    lines = [_where(found), "", *_sizes(found), "", *_memory(found), "", *_choice(found), "", *_time(found), "", *_disk(found)]
    return "\n".join(lines)


def _line(name: str, text: str) -> str:
    return f"{name:<{_NAME}}{text}"


def _where(found: Forecast) -> str:
    return f"{found.plan.run.name} on {devices(found)}, {found.plan.train.precision}"


def devices(found: Forecast) -> str:
    """Return the devices of a run in words."""
    return f"{found.plan.gpus} x {found.device.name}" if found.plan.gpus > 1 else f"one {found.device.name}"


def _sizes(found: Forecast) -> list[str]:
    sizes, train = found.sizes, found.plan.train
    known = f"{sizes.epochs:,.2f} epochs of {count_in_words(sizes.corpus_tokens or 0)} tokens" if sizes.epochs else "not known"
    return [
        _line("model", f"{sizes.parameters:,} parameters, {sizes.flops_per_token / 1e6:,.1f} MFLOP a token"),
        _line(
            "tokens",
            f"{count_in_words(sizes.tokens)} = {train.max_steps:,} steps x {sizes.tokens_per_step:,}"
            f"{' on average' if train.global_batch_schedule else ''}; "
            f"{sizes.tokens_per_parameter:,.1f} a parameter ({CHINCHILLA}: Chinchilla's best use of compute)",
        ),
        _line("epochs", f"{known} ({sizes.corpus_source})"),
        _line("compute", f"{sizes.flops:.3g} FLOP"),
    ]


def _memory(found: Forecast) -> list[str]:
    device, micro = found.device, found.plan.train.micro_batch_size
    unit = unit_of(found)
    head = f"memory of a process at its peak in {unit[0]}, train.micro_batch_size {micro}, traced ({found.traced_layers})"
    if device.memory_bytes is not None and device.room_bytes is not None:
        besides = "CUDA, NCCL, fragmentation" if device.on_gpu else "Python and libraries"
        room, margin = device.room_bytes / GB, device.margin_bytes / GB
        head += f"\n{device.name}: {device.memory_bytes / GB:,.1f} GB, {room:,.1f} for tensors and {margin:,.1f} for {besides}"
    header = ["", "total", *CATEGORIES, "largest micro-batch"]
    rows = [[way.strategy.name, *_sizes_of(way, unit[1]), _largest(found, way)] for way in found.ways]
    return [head, "", *aligned([header, *rows])]


def unit_of(found: Forecast) -> tuple[str, float]:
    """Return the unit in which all memory of a forecast is shown, and its bytes."""
    return ("GB", GB) if max(way.need.total for way in found.ways) >= GB else ("MB", GB / 1000)


def _sizes_of(way: Way, unit: float) -> list[str]:
    digits = 2 if unit == GB else 1
    return [f"{value / unit:,.{digits}f}" for value in (way.need.total, *(way.need.bytes[name] for name in CATEGORIES))]


def _largest(found: Forecast, way: Way) -> str:
    if found.device.room_bytes is None:
        return "not known"
    return f"{way.largest.micro_batch} ({size_in_words(way.largest.total)})" if way.largest else "none fits"


def aligned(rows: list[list[str]]) -> list[str]:
    """Return the lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths)).rstrip() for row in rows]


def _padded(row: list[str], widths: list[int]) -> list[str]:
    pads = [str.ljust, *[str.rjust] * (len(row) - 1)]
    return [pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)]


def _choice(found: Forecast) -> list[str]:
    if found.chosen is None:
        return [_line("launch", found.advice)]
    way = found.chosen
    lines = [_line("launch", f"{way.strategy.name}" + (f", launch/{way.strategy.launch}" if found.plan.gpus > 1 else ""))]
    lines += [_line("", found.advice)] if found.advice else []
    lines.append(_line("", launch_command(found.plan, way, found.machines)))
    if found.machines > 1:
        limit = time_limit(found.times.total) if found.times else None
        lines.append(_line("", f"on each of {found.machines} machines, RANK 0 to {found.machines - 1}; on a SLURM cluster:"))
        lines.append(_line("", slurm_command(found.plan, way, found.machines, limit)))
    return [*lines, _line("", "CONFIG: the recipe; settings that were given beside it here must be given there too")]


def _time(found: Forecast) -> list[str]:
    plan, times = found.plan, found.times
    if found.speed is None or times is None:
        where = f"{found.device.name} in {found.plan.train.precision}" if found.device.on_gpu else found.device.name
        return [_line("speed", f"not known for {where}; --probe measures it, --like RUN takes it from a run")]
    parts = [f"training {hours(times.training)}", f"evaluation {hours(times.evaluation)}"]
    parts += [f"pass@k {hours(times.pass_at_k)} (assumed: {GENERATION_SHARE:.0%} of the speed)"] if _tests(found) else []
    lines = [
        _line("speed", f"{found.speed.tokens_per_second:,.0f} tokens/s"),
        _line("", found.speed.source),
        _line("", _update(found)),
        _line("time", f"{hours(times.total)}: {', '.join(parts)}, start {hours(times.startup)}"),
        _line("", f"sbatch --time {time_limit(times.total)}; {found.gpu_hours:,.1f} GPU hours" if found.device.on_gpu else ""),
    ]
    if plan.price and found.gpu_hours is not None:
        lines.append(_line("cost", f"{found.gpu_hours * plan.price:,.2f} at {plan.price:g} an hour and GPU"))
    if times.fit_steps is not None:
        fits = times.fit_steps >= plan.train.max_steps
        words = "suffice" if fits else f"do not suffice: {times.fit_steps:,} of {plan.train.max_steps:,} steps fit"
        lines.append(_line("hours", f"{plan.hours:g} {words}"))
    return [line for line in lines if line.strip()]


def _update(found: Forecast) -> str:
    """Return what the optimizer's products of matrices take of a step; empty: there are none, or that is not known."""
    if not (found.speed and found.speed.update_seconds):
        return ""
    step = found.sizes.tokens_per_step / found.speed.tokens_per_second
    seconds = found.speed.update_seconds
    return f"{found.plan.optim.name} multiplies for {seconds:.2g} s of a step of {step:.3g} s, in float32 at the same share"


def _tests(found: Forecast) -> bool:
    evaluate = found.plan.evaluate
    return max(evaluate.humaneval_every_steps, evaluate.infilling_every_steps) > 0


def hours(seconds: float | None) -> str:
    """Return a duration in the unit that suits it."""
    if seconds is None:
        return "not known"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:,.1f} h"


def _disk(found: Forecast) -> list[str]:
    written = found.checkpoints
    one = f"{size_in_words(written.model_bytes)} of weights and {size_in_words(written.state_bytes)} of state each"
    lines = [
        _line("checkpoints", f"{written.written:,} written, {written.kept:,} kept; {one}"),
        _line("disk", f"{size_in_words(written.disk_bytes)} at most"),
    ]
    if found.plan.checkpoint.mirror:
        place = without_credentials(found.plan.checkpoint.mirror)
        lines.append(_line("mirror", f"{size_in_words(written.disk_bytes)} at most in {place}"))
    if found.plan.hub.repo:
        lines.append(_line("Hub", f"{size_in_words(written.hub_bytes)} in {written.pushed:,} commits"))
    return lines


def as_json(found: Forecast) -> dict[str, Any]:
    """Return the forecast as data: bytes, seconds, tokens."""
    device, times, chosen = found.device, found.times, found.chosen
    return {
        "gpus": found.plan.gpus,
        "gpu": device.name,
        "memory_bytes": device.memory_bytes,
        "room_bytes": device.room_bytes,
        **asdict(found.sizes),
        "strategies": {way.strategy.name: _way(way) for way in found.ways},
        "strategy": chosen.strategy.name if chosen else None,
        "launch": chosen.strategy.launch if chosen else None,
        "command": launch_command(found.plan, chosen, found.machines) if chosen else None,
        "machines": found.machines,
        "advice": found.advice,
        "tokens_per_second": found.speed.tokens_per_second if found.speed else None,
        "update_seconds": found.speed.update_seconds if found.speed else None,
        "speed_source": found.speed.source if found.speed else None,
        "seconds": {**asdict(times), "total": times.total} if times else None,
        "sbatch_time": time_limit(times.total) if times else None,
        "gpu_hours": found.gpu_hours,
        "cost": found.gpu_hours * found.plan.price if found.gpu_hours is not None and found.plan.price else None,
        "checkpoints": asdict(found.checkpoints),
    }


def _way(way: Way) -> dict[str, Any]:
    return {
        "launch": way.strategy.launch,
        "micro_batch_size": way.need.micro_batch,
        "peak_phase": way.need.phase,
        "bytes": {name: round(size) for name, size in way.need.bytes.items()},
        "total_bytes": round(way.need.total),
        "largest_micro_batch_size": way.largest.micro_batch if way.largest else None,
        "largest_total_bytes": round(way.largest.total) if way.largest else None,
    }

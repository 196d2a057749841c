"""The learning rate is a pure function of the step, so a resumed run needs no scheduler state."""

import math
from typing import Literal

from codeparrot.errors import CodeparrotError, nearest

Schedule = Literal["cosine", "linear", "wsd", "constant"]
SCHEDULES: tuple[Schedule, ...] = ("cosine", "linear", "wsd", "constant")
DecayShape = Literal["linear", "1-sqrt", "cosine"]
DECAY_SHAPES: tuple[DecayShape, ...] = ("linear", "1-sqrt", "cosine")


def learning_rate(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    max_steps: int,
    name: Schedule,
    final_fraction: float,
    decay_fraction: float,
    decay_shape: DecayShape = "linear",
) -> float:
    """Return the learning rate of optimizer step `step`.

    Warm-up is linear: step 0 uses peak / warmup_steps, step warmup_steps - 1 uses peak. Then the rate falls, and the last step,
    max_steps - 1, uses exactly final_fraction * peak. A run that is all warm-up ends at the peak.

    Args:
        step: 0 for the first optimizer step. The final value holds past the end of the run.
        peak: the highest learning rate.
        warmup_steps: optimizer steps of linear warm-up; 0 starts at the peak.
        max_steps: optimizer steps of the whole run.
        name: cosine (Loshchilov and Hutter, 2017), linear, constant, or wsd: warm-up, stable, then decay (Hu et al., 2024,
            MiniCPM).
        final_fraction: learning rate of the last step as a fraction of the peak; constant ignores it.
        decay_fraction: wsd only: the last part of the run, as a fraction of max_steps, in which the rate decays.
        decay_shape: wsd only: linear, cosine, or 1-sqrt: one less the root of the way that is gone (Hägele et al., 2024).
    """
    if step < warmup_steps:
        return peak * ((step + 1) / warmup_steps)
    start, last = max(warmup_steps - 1, 0), max_steps - 1
    if name == "wsd":
        start = max(start, last - max(1, round(decay_fraction * max_steps)))
    if step <= start or last <= start:
        return peak
    progress = min((step - start) / (last - start), 1.0)
    return peak * (final_fraction + (1 - final_fraction) * _remaining(decay_shape if name == "wsd" else name, progress))


def _remaining(name: str, progress: float) -> float:
    """Return the fraction of the way from the final value up to the peak: 1 at progress 0, 0 at progress 1."""
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if name == "linear":
        return 1 - progress
    if name == "1-sqrt":
        return 1 - math.sqrt(progress)
    if name == "constant":
        return 1.0
    raise CodeparrotError(f'schedule.name: unknown schedule "{name}"{nearest(name, SCHEDULES)} ({", ".join(SCHEDULES)})')

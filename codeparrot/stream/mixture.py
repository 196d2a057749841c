"""Mixtures: the sources of a stream, their weights in the phases of a run, and the source that each window comes from.

A window comes whole from one source, so that the shares of tokens are exact: documents of two sources never share a window.
Which source it is depends on the seed, the weights, the lane and the window's number in the lane alone: no world size, number
of threads or resume changes it, and nothing is saved of it.

Window n of lane l takes the source in whose interval of [0, 1) the point n * A + l * B + offset falls, modulo 1. The intervals
are as long as the weights. A is the golden ratio: of all numbers it spreads the points of a lane most evenly. B is another
irrational number, because multiples of A come close to whole numbers for some numbers of lanes. All that is computed in whole
numbers modulo 2^64, hence equal on every machine. After any number of windows a source is a few windows off its share, in each
lane and over all lanes together, so shares do not drift.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate, pairwise, repeat
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.stream.batches import batches_of
from codeparrot.stream.entries import TRAIN, Source, check_keys, check_weights, is_mixture, number, sources_of

if TYPE_CHECKING:
    from codeparrot.config import Config, StreamConfig

ONE = 1 << 64
"""Stands for 1: points and weights are multiples of 2^-64."""
GOLDEN = 0x9E3779B97F4A7C15
"""(sqrt(5) - 1) / 2: the step from a window of a lane to the next."""
SIDEWAYS = 0x6A09E667F3BCC908
"""sqrt(2) - 1: the step from a lane to the next."""
DRAWN_AHEAD = 1024
"""Windows of a lane whose sources are computed at once."""
PHASES = "stream.phases"


class Phase(NamedTuple):
    """A part of a run with its own weights."""

    until: float
    """Share of `train.max_steps` at which it ends."""
    weights: list[float]
    """One a source."""


def phases_of(phases: Sequence[Any], sources: Sequence[Source]) -> list[Phase]:
    """Return the phases of a run: one where none is given.

    Raises:
        CodeparrotError: they do not ascend to 1, or do not fit the sources.
    """
    own = [source.weight for source in sources]
    if not phases:
        return [Phase(1.0, own)]
    found = [_phase(entry, sources, own) for entry in phases]
    ends = [0.0, *(phase.until for phase in found)]
    if wrong := next(((one, two) for one, two in pairwise(ends) if two <= one), None):
        raise CodeparrotError(f"{PHASES}: until {wrong[1]:g} does not come after {wrong[0]:g}; phases follow one another")
    if ends[-1] != 1:
        raise CodeparrotError(f"{PHASES} end at {ends[-1]:g}; the last one is until 1, the end of the run (train.max_steps)")
    return found


class FurtherSet(NamedTuple):
    """A validation set besides `stream.valid`."""

    setting: str
    """That names it, for errors."""
    stream: "StreamConfig"
    """With its documents as `valid`."""
    description: str = ""
    """Column of their descriptions, as that of the source that they belong to."""


def further_sets(config: "Config") -> dict[str, FurtherSet]:
    """Return what evaluations measure besides `stream.valid`, by name: `evaluate.also`, and the `valid` of sources."""
    also = {
        name: FurtherSet(f"evaluate.also {name}", replace(config.stream, valid=places))
        for name, places in config.evaluate.also.items()
    }
    own = [source for source in sources_of(config.stream.train) if source.valid]
    return also | {
        each.name: FurtherSet(f'{TRAIN} "{each.name}": valid', replace(config.stream, valid=each.valid), each.description)
        for each in own
    }


def weights_of(train: Any) -> list[float]:
    """Return what a run that goes on must keep of `stream.train`: the weights, in the order of the sources."""
    sources = sources_of(train)
    return [source.weight for source in sources] if len(sources) > 1 else [1.0]


def check_mixture(config: "Config") -> None:
    """Check sources and phases of a run.

    Raises:
        CodeparrotError: naming the entry and the remedy.
    """
    stream = config.stream
    sources = sources_of(stream.train)
    if any(source.balance is not None for source in sources):
        return  # checked once the data have said which languages there are (balance.py)
    phases = phases_of(stream.phases, sources)
    steps = [0, *last_steps(phases, config.train.max_steps)]
    if short := next((phase for phase, (one, two) in zip(phases, pairwise(steps), strict=True) if one == two), None):
        raise CodeparrotError(f"{PHASES} until {short.until:g} has no step of the {config.train.max_steps}; leave it out")
    if stream.phases and not is_mixture(stream.train):
        raise CodeparrotError(f"{PHASES} needs sources with names in {TRAIN}: [{{path: data/python, weight: 0.7}}, ...]")
    measured = [source.name for source in sources if source.valid]
    if both := next((name for name in measured if name in config.evaluate.also), None):
        raise CodeparrotError(f'evaluate.also has a set of the name of a source with valid, "{both}"; give one another name')
    if measured and not stream.valid and config.evaluate.every_steps:
        raise CodeparrotError(
            f'the source "{measured[0]}" has valid, and stream.valid is empty: name a validation set of the run'
        )


class Stretch(NamedTuple):
    """Windows of a lane that are drawn with the same weights."""

    until: int
    """Number in the lane of the first window behind them."""
    bounds: tuple[int, ...]
    """Where the intervals of the sources end, as multiples of 2^-64; the last one is 2^64. Behind the last stretch of a run its
    weights hold on."""


class Mixture(NamedTuple):
    """From which source each window comes."""

    shares: tuple[Fraction, ...]
    """Of each source in the steps of the whole run."""
    offset: int
    """Where the points begin, as a multiple of 2^-64."""
    stretches: tuple[Stretch, ...]

    def drawn(self, lane: int, number: int) -> Iterator[int]:
        """Yield the index of the source of each window of a lane from `number` on, without end.

        Windows count from the beginning of the run.
        """
        import numpy as np

        if len(self.shares) == 1:
            yield from repeat(0)
        offset = (lane * SIDEWAYS + self.offset) % ONE
        while True:
            until = next((stretch.until for stretch in self.stretches[:-1] if number < stretch.until), number + DRAWN_AHEAD)
            numbers = np.arange(number, min(until, number + DRAWN_AHEAD), dtype=np.uint64)
            points = numbers * np.uint64(GOLDEN) + np.uint64(offset)  # modulo 2^64 by themselves
            # 2^64 itself is behind every point.
            bounds = np.array([each for each in self._bounds(number) if each < ONE], np.uint64)
            yield from np.searchsorted(bounds, points, side="right").tolist()
            number += len(numbers)

    def read_from(self, number: int) -> list[int]:
        """Return the sources from which windows come from window `number` of a lane on."""
        ahead = [stretch.bounds for stretch in self.stretches[:-1] if number < stretch.until] + [self.stretches[-1].bounds]
        parts = [enumerate(pairwise((0, *bounds))) for bounds in ahead]
        return sorted({index for each in parts for index, (begin, end) in each if begin < end})

    @property
    def read(self) -> list[float]:
        """Return the share of each source in the windows of the run, whose phases may have steps of different sizes."""
        lengths = [end - begin for begin, end in pairwise((0, *(stretch.until for stretch in self.stretches)))]
        found = [0] * len(self.shares)
        for length, stretch in zip(lengths, self.stretches, strict=True):
            for index, (begin, end) in enumerate(pairwise((0, *stretch.bounds))):
                found[index] += length * (end - begin)
        return [each / sum(found) for each in found]

    def blocks(self, num_windows: int) -> list[int]:
        """Divide a block of that many windows of a lane among the sources."""
        return [max(1, int(num_windows * share)) for share in self.shares]

    def _bounds(self, number: int) -> tuple[int, ...]:
        bounds: tuple[int, ...] = ()
        for until, bounds in self.stretches:  # noqa: B007 - those of the last one hold on
            if number < until:
                break
        return bounds


def mixture_of(config: "Config") -> Mixture:
    """Return the mixture of a run, whose phases end with steps.

    Raises:
        CodeparrotError: see `sources_of` and `phases_of`.
    """
    phases = phases_of(config.stream.phases, sources_of(config.stream.train))
    ends = [windows_before(config, step) for step in last_steps(phases, config.train.max_steps)]
    return _mixture(config.run.seed, phases, ends)


def without_phases(train: Any, seed: int) -> Mixture:
    """Return the mixture of sources whose weights stay the same.

    Raises:
        CodeparrotError: see `sources_of`.
    """
    return _mixture(seed, phases_of([], sources_of(train)), [1])


def windows_before(config: "Config", step: int) -> int:
    """Return the windows of a lane that the first `step` steps of a run take."""
    return batches_of(config.train).before(step) // config.stream.lanes


def last_steps(phases: Sequence[Phase], max_steps: int) -> list[int]:
    """Return the last step of each phase, counted from 1."""
    return [round(_exactly(phase.until) * max_steps) for phase in phases]


def _mixture(seed: int, phases: Sequence[Phase], ends: Sequence[int]) -> Mixture:
    """Return the mixture of phases that end in front of these windows of a lane.

    The shares do not depend on the number of steps, so that a run which is prolonged keeps its blocks.
    """
    digest = hashlib.blake2b(f"{seed}/mixture".encode(), digest_size=8).digest()
    weights = [_shares(phase.weights) for phase in phases]
    until = [_exactly(phase.until) for phase in phases]
    lengths = [end - begin for begin, end in pairwise((Fraction(0), *until))]
    shares = tuple(sum(map(mul, lengths, each), Fraction(0)) for each in zip(*weights, strict=True))
    bounds = [tuple(int(ONE * part) for part in accumulate(each)) for each in weights]
    return Mixture(shares, int.from_bytes(digest, "little"), tuple(map(Stretch, ends, bounds)))


def _shares(weights: Sequence[float]) -> list[Fraction]:
    exact = list(map(_exactly, weights))
    return [each / sum(exact) for each in exact]


def _exactly(number: float) -> Fraction:
    """Return a number as it is written: 0.6 is 6/10, and not the nearest binary fraction."""
    return Fraction(str(number))


def _phase(entry: Any, sources: Sequence[Source], own: list[float]) -> Phase:
    if not isinstance(entry, Mapping):
        raise CodeparrotError(f"{PHASES}: {entry} is not a phase; write {{until: 0.8, weights: [...]}}")
    check_keys(entry, Phase._fields, PHASES)
    if "until" not in entry:
        raise CodeparrotError(f"{PHASES}: {dict(entry)} has no until; say at which share of the run it ends: until: 0.8")
    until = number(entry["until"], f"{PHASES}: until")
    if until > 1:
        raise CodeparrotError(f"{PHASES}: until is {until:g}; it is a share of the run, from 0 to 1")
    where = f"{PHASES} until {until:g}"
    given = entry.get("weights", own)
    if isinstance(given, Mapping):
        names = [source.name for source in sources]
        if unknown := next((name for name in given if name not in names), None):
            raise CodeparrotError(f'{where}: there is no source "{unknown}"{nearest(str(unknown), names)}')
        if left := next((name for name in names if name not in given), None):
            raise CodeparrotError(f'{where}: "{left}" has no weight; name every source, with 0 where it is not read')
        given = [given[name] for name in names]
    if not isinstance(given, list) or len(given) != len(sources):
        raise CodeparrotError(f"{where}: weights is {given}; write one for each of the {len(sources)} sources")
    weights = [number(each, f"{where}: a weight") for each in given]
    check_weights(weights, where)
    return Phase(until, weights)

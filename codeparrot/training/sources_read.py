"""What a run has read of each source of a mixture: shares, tokens, epochs.

Counted are windows that were trained on since the data began, over all lanes. A run without a mixture has nothing of this.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from codeparrot.run.progress import Progress
from codeparrot.stream.entries import is_mixture, sources_of
from codeparrot.stream.estimate import source_tokens
from codeparrot.stream.mixture import last_steps, phases_of
from codeparrot.stream.opened import OpenSource, Read
from codeparrot.training.parts import Training

logger = logging.getLogger("codeparrot")


class SourcesRead:
    """Every process makes one. It warns once, on the main process, of each source that is read more than its `epochs`."""

    def __init__(self, training: Training) -> None:
        self._training, self._main = training, training.accelerator.is_main_process
        self._evaluations = 0
        self._warned: set[str] = set()

    def step(self, progress: Progress) -> dict[str, Any]:
        """Return what was read up to a step, for its line in metrics.jsonl. All processes call this, at a logged step.

        Behind an evaluation and at the end of the run, the log has it too.
        """
        training = self._training
        if not is_mixture(training.config.stream.train):
            return {}
        found = facts(training, training.agreement.gather(training.stream.read))
        if not self._main:
            return {}
        self._warn(progress.step, found)
        every, before = training.config.evaluate.every_steps, self._evaluations
        self._evaluations = progress.step // every if every else 0
        if self._evaluations > before or progress.step == training.config.train.max_steps:
            shown = " | ".join(
                f"{each['name']} {each['share']:.1%}, {each['tokens']:,} tokens, {each['epochs']:.2f} epochs" for each in found
            )
            logger.info("sources up to step %d | %s", progress.step, shown)
        return {"sources": found}

    def _warn(self, step: int, found: Sequence[dict[str, Any]]) -> None:
        for source, each in zip(self._training.stream.sources, found, strict=True):
            most = source.settings.epochs
            if most and each["epochs"] > most and source.name not in self._warned:
                self._warned.add(source.name)
                text = "the source %s is being read more than %g epochs (%.2f at step %d); lower its weight to repeat it less"
                logger.warning(text, source.name, most, each["epochs"], step)


def facts(training: Training, read: Sequence[Sequence[Read]]) -> list[dict[str, Any]]:
    """Return what was read of each source, ready for JSON, from what each process has read."""
    lanes = training.config.stream.lanes
    sums = [sum(parts, Read()) for parts in zip(*read, strict=True)]
    total = sum(each.windows for each in sums)
    return [
        {
            "name": source.name,
            "weight": source.settings.weight,
            "share": each.windows / total if total else 0.0,
            "tokens": each.tokens,
            "epochs": each.epochs / lanes,
        }
        for source, each in zip(training.stream.sources, sums, strict=True)
    ]


def planned(training: Training) -> Iterator[str]:
    """Yield lines that say what the whole run will read of each source."""
    if not is_mixture(training.config.stream.train):
        return
    tokens = training.tokens_before(training.config.train.max_steps)
    for source, share in zip(training.stream.sources, training.stream.mixture.read, strict=True):
        own = share * tokens
        yield f"source      {source.name}: {share:.1%} of the windows, {own:,.0f} tokens, {_epochs(source, own)}"
    stream = training.config.stream
    steps = last_steps(phases_of(stream.phases, sources_of(stream.train)), training.config.train.max_steps)
    for phase, step in zip(stream.phases, steps, strict=False):  # without phases there is one step, the last
        yield f"phase       until step {step:,}: weights {phase.get('weights', 'of the sources')}"


def _epochs(source: OpenSource, tokens: float) -> str:
    most = f" (epochs: {source.settings.epochs:g})" if source.settings.epochs else ""
    known = source_tokens(source)
    if not known or not known[0]:
        return f"how many epochs is not known without reading it{most}"
    count, exact = known
    return f"{'' if exact else 'about '}{tokens / count:.2f} epochs{most}"

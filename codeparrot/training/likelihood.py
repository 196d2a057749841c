"""How likely the model finds the solutions of problems, measured at each evaluation of a run: a signal before pass@k has any.

Cost: a forward pass of each problem, which the processes share; a batch holds no more tokens than a micro-batch of the run.
A set that cannot be read turns the measurement off, with one warning: training goes on.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from codeparrot.errors import CodeparrotError
from codeparrot.model.context import context_of
from codeparrot.run.progress import Progress
from codeparrot.training.monitor import Monitor
from codeparrot.training.parts import Training

logger = logging.getLogger("codeparrot")


class Likelihood:
    """Measures the current model. Every process makes one."""

    def __init__(self, training: Training, monitor: Monitor) -> None:
        self._training, self._monitor = training, monitor
        self._solutions: list[Any] = []
        if training.config.evaluate.likelihood_problems and training.kind == "causal":
            self._load(training.config.evaluate.likelihood_problems)

    def _load(self, name: str) -> None:
        from codeparrot.eval.likelihood import load_solved, solutions_of

        training, trouble, known = self._training, "", None
        try:
            problems = load_solved(name)
            self._name, known = problems.name, solutions_of(problems, training.tokenizer, context_of(training.settings))
            trouble = "" if known.found else f"{problems.source}: none of the problems has a reference solution"
        except CodeparrotError as error:
            trouble = str(error)
        (first, *_) = [words for words in training.agreement.gather(trouble) if words] or [""]
        if first or known is None:
            logger.warning("no likelihood of solutions in this run: %s", " ".join(first.split()))
            return
        self._solutions = known.found
        if training.accelerator.is_main_process:
            words = [f"{len(known.found):,} of {self._name} at each evaluation", *known.left_out()]
            logger.info("solutions   %s", "; ".join(words))

    def run(self, progress: Progress, broken_off: Callable[[], bool]) -> bool:
        """Measure and log; return False if that was broken off. All processes call this.

        Args:
            progress: of the run.
            broken_off: asked after each batch; its answer is the same on all processes.
        """
        if not self._solutions:
            return True
        from codeparrot.eval.likelihood import bits

        training, train, accelerator = self._training, self._training.config.train, self._training.accelerator
        found = bits(
            training.model,
            self._solutions,
            context=context_of(training.settings),
            batch_tokens=(training.config.evaluate.micro_batch_size or train.micro_batch_size)
            * training.config.stream.seq_length,
            device=accelerator.device,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            add_up=lambda sums: accelerator.reduce(sums, "sum"),
            progress=lambda: training.watchdog.beat(progress.step, "likelihood of solutions"),
            broken_off=broken_off,
        )
        if found is None:
            return False
        sizes = np.array([solution.num_bytes for solution in self._solutions])
        self._monitor.likelihood(progress, float((np.array(found) / sizes).mean()), self._name, len(found))
        return True

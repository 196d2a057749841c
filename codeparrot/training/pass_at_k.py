"""pass@1 while a run trains: the model completes problems between two steps, and the programs run beside the following steps.

So it is with infilling, whose scores have other names (`infilling_pass@1`, `infilling_exact_match`, ...).

The loop waits only for the completions; each process writes its share. The verdicts go into metrics.jsonl and the trackers when
they arrive, under the step they measure. No failure here stops training: it is reported once, and the measurements are off from
then on. A request to stop interrupts the completions, and an interrupted run does not wait for verdicts.
"""

import logging
import queue
import threading
from dataclasses import dataclass
from typing import Any

from torch.distributed.fsdp import FSDPModule

from codeparrot.config import EvaluateConfig
from codeparrot.errors import CodeparrotError
from codeparrot.eval.task import Task
from codeparrot.run.progress import Progress
from codeparrot.training.monitor import Monitor
from codeparrot.training.parts import Training
from codeparrot.training.preemption import StopRequest

logger = logging.getLogger("codeparrot")

TEMPERATURE, MAX_NEW_TOKENS = 0.2, 128
LAST_VERDICTS_SECONDS = 120.0
"""How long the end of a run waits for them."""


@dataclass(frozen=True)
class Measurement:
    """What a run measures by unit tests, and how often."""

    name: str
    """In words."""
    every_steps: int
    task: Task[Any]
    """Scores without running the reference solutions again."""
    limit: int
    """Problems, the first; 0: all."""
    samples: int
    temperature: float
    prefix: str = ""
    """Of its scores in metrics.jsonl."""


def measurements(settings: EvaluateConfig) -> list[Measurement]:
    """Return what a run with these settings measures. Problems are loaded later."""
    from codeparrot.eval.tasks.humaneval import HumanEval
    from codeparrot.eval.tasks.infilling import Infilling

    ks = tuple(sorted({1, settings.humaneval_samples}))
    tests = HumanEval(settings.humaneval_problems, ks, workers=2, check=False)
    middles = Infilling(settings.infilling_problems, tests=HumanEval(workers=2, check=False))
    every = settings.humaneval_every_steps, settings.infilling_every_steps
    found = [
        Measurement("unit tests", every[0], tests, settings.humaneval_limit, settings.humaneval_samples, TEMPERATURE),
        Measurement("infilling", every[1], middles, settings.infilling_limit, 1, 0.0, "infilling_"),
    ]
    return [each for each in found if each.every_steps]


class UnitTests:
    """Takes all of them. Every process makes one, and all call its methods together."""

    def __init__(self, training: Training, monitor: Monitor, stop: StopRequest) -> None:
        self._monitor = monitor
        asked = measurements(training.config.evaluate) if training.kind == "causal" else []
        self._all = [PassAtK(each, training, monitor, stop) for each in asked]

    def run_due(self, progress: Progress, last: bool) -> None:
        """Take what is due after a step; after the last one, all."""
        for each in self._all:
            if last or progress.step % each.every_steps == 0:
                each.run(progress)

    def run_missing(self, progress: Progress) -> None:
        """Take what an earlier start did not take at its end."""
        for each in self._all:
            if not self._monitor.holds(each.score):
                each.run(progress)

    def report(self) -> None:
        """Log the verdicts that have arrived. Costs nothing."""
        for each in self._all:
            each.report()

    def finish(self) -> None:
        """Wait for the last verdicts, unless the run was stopped."""
        for each in self._all:
            each.finish()

    @property
    def interrupted(self) -> bool:
        """Whether the last verdicts are missing because the run is stopping. The main process knows."""
        return any(each.interrupted for each in self._all)


class PassAtK:
    """Takes one kind of measurement of the current model. Every process makes one."""

    def __init__(self, measurement: Measurement, training: Training, monitor: Monitor, stop: StopRequest) -> None:
        self._training, self._monitor, self._stop = training, monitor, stop
        self._measurement, self._task = measurement, measurement.task
        self.every_steps, self.score = measurement.every_steps, f"{measurement.prefix}pass@1"
        self._on = True
        self._found: queue.SimpleQueue[dict[str, Any] | str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._trouble = ""
        """What went wrong in the background; all processes hear of it at the next measurement."""
        self.interrupted = False
        """Whether the last measurement has no verdicts because the run is stopping. The main process knows."""
        self._load()

    def _load(self) -> None:
        trouble = ""
        try:
            self._task.settings_of(lambda: self._training.tokenizer)  # refuses a tokenizer with which it cannot be measured
            self._problems = self._task.load().first(self._measurement.limit)
            if self._training.accelerator.is_main_process:
                self._task.check_scorable()
                self._task.check_problems(self._problems)
        except CodeparrotError as error:
            trouble = str(error)
        self._off_if(trouble)

    def run(self, progress: Progress) -> None:
        """Complete the problems and start running the programs. All processes call this."""
        if not self._on:
            return
        self._finish_thread()
        if self._off_if(self._trouble):
            return
        with self._monitor.paused(), self._training.uncompiled():
            completions, trouble = self._complete(progress)
            # Whatever happened here, all processes meet.
            gathered = self._training.agreement.gather((completions, trouble))
        if self._off_if(next((words for _, words in gathered if words), "")):
            return
        rows = {key: text for own, _ in gathered for key, text in own.items()}
        self.interrupted = len(rows) < len(self._keys())
        if self.interrupted:
            words = "the measurement of %s at step %d was interrupted: the run is stopping"
            logger.info(words, self._measurement.name, progress.step)
        elif self._training.accelerator.is_main_process:
            self._thread = threading.Thread(target=self._judge, args=(progress, rows), daemon=True, name=self._measurement.name)
            self._thread.start()

    def report(self) -> None:
        """Log the verdicts that have arrived. Costs nothing."""
        while not self._found.empty():
            found = self._found.get()
            if isinstance(found, str):
                self._trouble = found
            else:
                self._monitor.tested(found)

    def finish(self) -> None:
        """Wait for the last verdicts, unless the run was stopped."""
        self._finish_thread(0.0 if self._stop.requested else LAST_VERDICTS_SECONDS)
        if self._on and self._trouble:
            logger.warning("the last %s gave no verdicts: %s", self._measurement.name, " ".join(self._trouble.split()))
        if self._on and self._training.accelerator.is_main_process:
            self._draw()

    def _draw(self) -> None:
        """Draw plots/pass_at_k.png. A failure is only reported."""
        from codeparrot.eval.plots import draw_over_tokens

        folder = self._training.config.run_directory
        try:
            draw_over_tokens(folder, folder / "plots" / "pass_at_k.png")
        except (OSError, ValueError) as error:
            logger.warning("cannot draw %s: %s", folder / "plots" / "pass_at_k.png", error)

    def _finish_thread(self, seconds: float = LAST_VERDICTS_SECONDS) -> None:
        if self._thread is not None:
            self._thread.join(seconds)
            self.interrupted = self._thread.is_alive()
            self._thread = None
        self.report()

    def _keys(self) -> list[Any]:
        from codeparrot.eval.sampling import Key

        of = self._measurement
        return [Key(problem.task_id, of.temperature, sample) for problem in self._problems for sample in range(of.samples)]

    def _complete(self, progress: Progress) -> tuple[dict[Any, str], str]:
        """Return this process's completions by problem and sample, and what went wrong."""
        from codeparrot.eval.sampling import Sampling, generate

        training, keys = self._training, self._keys()
        together = training.sharded.sharded
        if isinstance(training.model, FSDPModule):
            # Generation calls modules below the root; only the root's forward pass would gather the root's own parameters.
            training.model.unshard()
        if not together:
            keys = keys[training.accelerator.process_index :: training.accelerator.num_processes]

        def broken_off() -> bool:
            training.watchdog.beat(progress.step, self._measurement.name)
            return training.agreement.any(self._stop.requested)[0] if together else self._stop.requested

        sampling = Sampling(max_new_tokens=MAX_NEW_TOKENS, seed=progress.step)
        try:
            with training.accelerator.autocast():
                model, tokenizer = training.language_model, training.tokenizer
                done = list(generate(model, tokenizer, self._task, self._problems, keys, sampling, broken_off=broken_off))
        except CodeparrotError as error:
            return {}, str(error)
        except (RuntimeError, ValueError, TypeError) as error:
            # The model cannot be sampled, or memory ran out.
            return {}, f"{type(error).__name__}: {error}"
        return {(each.key.task_id, each.key.sample): each.text for each in done}, ""

    def _judge(self, progress: Progress, rows: dict[Any, str]) -> None:
        """Run the programs, in the background."""
        samples = [
            {"task_id": task, "sample": sample, "temperature": self._measurement.temperature, "completion": text}
            for (task, sample), text in sorted(rows.items())
        ]
        try:
            results = self._task.score(self._problems, samples)
        except Exception as error:  # noqa: BLE001 - nobody else would see an error in this thread; the loop reports it
            self._found.put(str(error) or type(error).__name__)
            return
        report = self._task.summary(self._problems, results)
        values = {f"{self._measurement.prefix}{name}": report[name] for name in report["best"]}
        part = {"limit": len(self._problems)} if len(self._problems) < self._problems.num_whole else {}
        self._found.put(
            {
                **{"step": progress.step, "tokens": progress.tokens, **values},
                **{"problems": self._problems.name, **part, **self._task.settings},
                **{"num_samples": len(samples), "outcomes": report["outcomes"]},
            }
        )

    def _off_if(self, trouble: str) -> bool:
        """Give up on all processes if one of them is in trouble."""
        (first, *_) = [words for words in self._training.agreement.gather(trouble) if words] or [""]
        if first:
            self._on = False
            logger.warning("no %s in this run: %s", self._measurement.name, " ".join(first.split()))
        return bool(first)

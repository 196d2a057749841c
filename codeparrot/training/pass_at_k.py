"""pass@1 while a run trains: the model completes problems between two steps, and the programs run beside the following steps.

The loop waits only for the completions; each process writes its share. The verdicts go into metrics.jsonl and the trackers when
they arrive, under the step they measure. No failure here stops training: it is reported once, and the measurements are off from
then on. A request to stop interrupts the completions, and an interrupted run does not wait for verdicts.
"""

import logging
import queue
import threading
from typing import Any

from torch.distributed.fsdp import FSDPModule

from codeparrot.errors import CodeparrotError
from codeparrot.run.progress import Progress
from codeparrot.training.monitor import Monitor
from codeparrot.training.parts import Training
from codeparrot.training.preemption import StopRequest

logger = logging.getLogger("codeparrot")

TEMPERATURE, MAX_NEW_TOKENS = 0.2, 128
LAST_VERDICTS_SECONDS = 120.0
"""How long the end of a run waits for them."""


class PassAtK:
    """Measures the current model. Every process makes one."""

    def __init__(self, training: Training, monitor: Monitor, stop: StopRequest) -> None:
        self._training, self._monitor, self._stop = training, monitor, stop
        self._settings = training.config.evaluate
        self._on = self._settings.humaneval_every_steps > 0
        self._found: queue.SimpleQueue[dict[str, Any] | str] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._trouble = ""
        """What went wrong in the background; all processes hear of it at the next measurement."""
        self.interrupted = False
        """Whether the last measurement has no verdicts because the run is stopping. The main process knows."""
        if self._on:
            self._load()

    def _load(self) -> None:
        from codeparrot.eval.tasks.humaneval import HumanEval

        trouble = ""
        try:
            self._task = HumanEval(self._settings.humaneval_problems)
            self._problems = self._task.load().first(self._settings.humaneval_limit)
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
            logger.info("the unit tests at step %d were interrupted: the run is stopping", progress.step)
        elif self._training.accelerator.is_main_process:
            self._thread = threading.Thread(target=self._judge, args=(progress, rows), daemon=True, name="unit tests")
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
            logger.warning("the last unit tests gave no verdicts: %s", " ".join(self._trouble.split()))
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

        return [
            Key(problem.task_id, TEMPERATURE, sample)
            for problem in self._problems
            for sample in range(self._settings.humaneval_samples)
        ]

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
            training.watchdog.beat(progress.step, "unit tests")
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
        from codeparrot.eval import report as reports
        from codeparrot.eval.sandbox.executor import Executor
        from codeparrot.eval.scoring import judge

        samples = [
            {"task_id": task, "sample": sample, "temperature": TEMPERATURE, "completion": text}
            for (task, sample), text in sorted(rows.items())
        ]
        try:
            with Executor(num_workers=2) as executor:
                results = judge(executor, self._problems, samples, check=False)
        except Exception as error:  # noqa: BLE001 - nobody else would see an error in this thread; the loop reports it
            self._found.put(str(error) or type(error).__name__)
            return
        ks = sorted({1, self._settings.humaneval_samples})
        tasks = [problem.task_id for problem in self._problems]
        report = reports.make(results, tasks, ks, {})
        values = {name: report[name] for name in report["best"]}
        self._found.put(
            {
                **{"step": progress.step, "tokens": progress.tokens, **values},
                **{"problems": self._problems.name, "prompt_style": self._task.prompt_style},
                **{"num_samples": len(samples), "outcomes": report["outcomes"]},
            }
        )

    def _off_if(self, trouble: str) -> bool:
        """Give up on all processes if one of them is in trouble."""
        (first, *_) = [words for words in self._training.agreement.gather(trouble) if words] or [""]
        if first:
            self._on = False
            logger.warning("no unit tests in this run: %s", " ".join(first.split()))
        return bool(first)

"""What a run reports: a line a logged step, evaluations, the loss curve.

Each line has the size of the model (`parameters`) and the FLOPs spent on all tokens up to there (`flops`), as PaLM counts them
(model/flops.py). Throughput covers the steps since the last logged one, without evaluations and checkpoints. The loss is the
mean over the tokens of the global batch of that step. Only a logged step waits for the device.
"""

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from codeparrot import plot
from codeparrot.errors import CodeparrotError
from codeparrot.eval.tasks.perplexity import MaskedScore, Score
from codeparrot.model import hardware
from codeparrot.model.families import num_parameters
from codeparrot.model.flops import causal_flops_per_token, flops_per_token
from codeparrot.objectives.objective import head_share, lengths_of
from codeparrot.run.metrics import SET, SOLUTIONS, MetricsLog, begin_again, is_score, problems_of, read_lines
from codeparrot.run.progress import Progress
from codeparrot.training.derived import derived_values
from codeparrot.training.health import StepRecord
from codeparrot.training.left_out import LeftOut
from codeparrot.training.packing import PackingReport
from codeparrot.training.parts import Training
from codeparrot.training.run_directory import write_config
from codeparrot.training.sources_read import SourcesRead
from codeparrot.training.tracking import SHOWN_BY_BAR, Bar, Trackers

logger = logging.getLogger("codeparrot")

BY_LANGUAGE = ("loss", "bits_per_byte")
"""What trackers show of each language of a validation set."""


class Monitor:
    """Every process makes one and enters it for the loop; only the main one writes."""

    def __init__(self, training: Training, begin: Progress) -> None:
        config, accelerator = training.config, training.accelerator
        self._training, self._main = training, accelerator.is_main_process
        self._parameters = num_parameters(training.settings)
        length, objective = config.stream.seq_length, training.objective
        shape = training.settings, length, head_share(objective), lengths_of(objective, length)
        self._flops, self._causal_flops = flops_per_token(*shape), causal_flops_per_token(*shape)
        self._peak, peak_source = hardware.peak_flops(accelerator.device, config.train.precision)
        self._peak *= accelerator.num_processes
        self._peak_raised = False
        self.begin, self._step = begin, begin.step
        if self._main:
            write_config(config)
            if training.precision.warning:
                logger.warning("%s", training.precision.warning)
            counts = self._parameters, (self._flops, self._causal_flops), self._peak
            for line in derived_values(training, *counts, peak_source, begin):
                logger.info("%s", line)
            folder = config.run_directory
            if not begin.step:
                begin_again(folder / "metrics.jsonl")
            self._metrics = MetricsLog(folder / "metrics.jsonl", begin.step)
            self._samples = MetricsLog(folder / "log" / "samples.jsonl", begin.step)
            self._anomalies = MetricsLog(folder / "anomalies.jsonl", begin.step)
        self.left_out = LeftOut(config, training.agreement, self._main, begin.step)
        self._sources, self._packing = SourcesRead(training), PackingReport(training, begin)
        self._trackers = Trackers(accelerator, config, asdict(config), begin.step)
        self._tables = self._earlier_scores()
        """Rows of the scores by unit tests, for W&B."""
        self._window_start = time.perf_counter()
        self._window_tokens = begin.tokens
        self._data_seconds = 0.0

    def __enter__(self) -> "Monitor":
        self._bar = Bar(self._training.config.train.max_steps, self.begin.step, shown=self._main)
        self._restart(self.begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._trackers.close()

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """Count the time spent inside as waiting for the stream."""
        start = time.perf_counter()
        yield
        self._data_seconds += time.perf_counter() - start

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time spent inside as training."""
        start = time.perf_counter()
        yield
        self._window_start += time.perf_counter() - start

    def review(self) -> list[StepRecord]:
        """Return how the steps since the last review went, and write down anomalies. All processes call this."""
        training = self._training
        records = training.health.review()
        for record in records:
            if record.reason:
                documents = documents_behind(training, record)
                if self._main:
                    self._report(record, documents)
        return records

    def step(self, progress: Progress, lr: float) -> None:
        """Count a step, and log it if it is due. All processes call this."""
        config = self._training.config.train
        self._step = progress.step
        if progress.step % config.log_every_steps and progress.step != config.max_steps:
            self._bar.advance()
            return
        last = self.review()[-1]
        left_out = self.left_out.add(progress.step, self._training.stream.damaged.values())
        sources, packing = self._sources.step(progress), self._packing.step(progress)
        mean, grad_norm = last.loss, last.grad_norm
        if not self._main:
            self._restart(progress)
            return
        seconds = time.perf_counter() - self._window_start
        rate = (progress.tokens - self._window_tokens) / seconds
        self._raise_peak(rate * self._flops)
        values = {
            "step": progress.step,
            "tokens": progress.tokens,
            "loss": _finite(mean),
            "lr": lr,
            "grad_norm": _finite(grad_norm),
            "tokens_per_second": rate,
            "mfu": rate * self._flops / self._peak,
            "tflops_per_device": rate * self._causal_flops / self._training.accelerator.num_processes / 1e12,
            "data_wait_fraction": self._data_seconds / seconds,
            "skipped_steps": self._training.health.num_skipped,
            "peak_memory_bytes": hardware.peak_memory_bytes(self._training.accelerator.device),
            **left_out,
            **packing,
        }
        self._write(values | sources)
        self._trackers.log({key: value for key, value in values.items() if key != "step" and value is not None}, progress.step)
        left = timedelta(seconds=round(self._tokens_left(progress) * (1 - packing.get("padding_fraction", 0.0)) / rate))
        short = f"loss {mean:.4f} | {rate:,.0f} tokens/s | MFU {values['mfu']:.1%}"
        packed = _packed(packing)
        self._bar.advance(short)  # the bar says itself how much time is left
        logger.info(
            "step %d/%d (%.1f%%) | %s | lr %.2e | gradient %.3f | data wait %.1f%% | %s%s left",
            *(progress.step, config.max_steps, 100 * progress.step / config.max_steps, short, lr),
            *(grad_norm, 100 * values["data_wait_fraction"], packed, left),
            extra=SHOWN_BY_BAR,
        )
        self._restart(progress)

    def _write(self, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl, with what laws of scaling are fitted to."""
        counted = {"parameters": self._parameters, "flops": values["tokens"] * self._flops}
        self._metrics.append({**values, **counted})

    def _raise_peak(self, reached: float) -> None:
        """Take what was reached for the peak where that was measured too low, beside other work: no run uses more than 100%."""
        if reached <= self._peak:
            return
        if not self._peak_raised:
            text = "the peak of %.3g TFLOP/s was measured too low: %.3g were reached, and MFU is of the most that is reached"
            logger.info(text, self._peak / 1e12, reached / 1e12)
        self._peak, self._peak_raised = reached, True

    def evaluated(self, progress: Progress, score: Score | MaskedScore, sampled: bool, others: Mapping[str, float]) -> None:
        """Log an evaluation of the validation set, or of the sample of it, and what else was measured, by its name."""
        if not self._main:
            return
        values = {"eval_loss": score.loss, **score.measures, **others}
        values = {key: _finite(value) for key, value in values.items()}
        measured: dict[str, Any] = {"eval_tokens": score.tokens, "eval_sample": sampled}
        measured |= self._languages(progress, "eval", "languages", score)
        self._write({"step": progress.step, "tokens": progress.tokens, **values, **measured})
        self._trackers.log({key: value for key, value in values.items() if value is not None}, progress.step)
        shown = "".join(f" | {name} {value:.4f}" for name, value in others.items())
        logger.info("evaluation at step %d | %s%s%s", progress.step, score, " (of the sample)" if sampled else "", shown)

    def further(self, progress: Progress, name: str, score: Score | MaskedScore, sampled: bool) -> None:
        """Log an evaluation of a further validation set, or of the sample of it."""
        if not self._main:
            return
        values = {"loss": score.loss, **score.measures}
        known = {f"{SET}_{key}": _finite(value) for key, value in values.items()}
        measured: dict[str, Any] = {f"{SET}_tokens": score.tokens, f"{SET}_sample": sampled}
        measured |= self._languages(progress, SET, name, score)
        self._write({"step": progress.step, "tokens": progress.tokens, SET: name, **known, **measured})
        found = {f"{name}/{key}": _finite(value) for key, value in values.items()}
        self._trackers.log({key: value for key, value in found.items() if value is not None}, progress.step)
        logger.info("%s at step %d | %s%s", name, progress.step, score, " (of the sample)" if sampled else "")

    def _languages(self, progress: Progress, key: str, shown: str, score: Score | MaskedScore) -> dict[str, Any]:
        """Log the loss of each language, and return what metrics.jsonl holds of it, if anything."""
        found = getattr(score, "languages", None)
        if not found:
            return {}
        known = {name: {measure: _finite(value) for measure, value in each.items()} for name, each in found.items()}
        flat = {f"{shown}/{name}/{measure}": each[measure] for name, each in known.items() for measure in BY_LANGUAGE}
        self._trackers.log({name: value for name, value in flat.items() if value is not None}, progress.step)
        lines = " | ".join(f"{name} {each['loss']:.4f}, {each['bits_per_byte']:.3f} bits/byte" for name, each in found.items())
        logger.info("%s at step %d by language | %s", "evaluation" if key == "eval" else shown, progress.step, lines)
        return {f"{key}_languages": known}

    def likelihood(self, progress: Progress, value: float, problems: str, count: int) -> None:
        """Log how likely the reference solutions of problems are, in bits a byte."""
        if not self._main:
            return
        known = _finite(value)
        of = {"problems": problems, "num_solutions": count}
        self._write({"step": progress.step, "tokens": progress.tokens, SOLUTIONS: known, **of})
        self._trackers.log({SOLUTIONS: known} if known is not None else {}, progress.step)
        logger.info("solutions at step %d | %.3f bits/byte (%d of %s)", progress.step, value, count, problems)

    def tested(self, line: dict[str, Any]) -> None:
        """Log unit tests, whose verdicts arrive some steps after the step they measure. The main process calls this."""
        self._write(line)
        scores = {name: value for name, value in line.items() if is_score(name)}
        measured = _measured(line)
        # TensorBoard only takes steps in order, so trackers get the step at which the verdicts arrived.
        self._trackers.log({**scores, f"{measured}_tokens": line["tokens"]}, self._step)
        self._tables.setdefault(measured, []).extend(_rows(line))
        columns = ("step", "tokens", "problems", "measure", "value")
        self._trackers.table(measured, columns, self._tables[measured], self._step)
        shown = " | ".join(f"{name} {value:.2%}" for name, value in scores.items())
        logger.info("unit tests at step %d | %s (%s)", line["step"], shown, problems_of(line))

    def _earlier_scores(self) -> dict[str, list[tuple[Any, ...]]]:
        tables: dict[str, list[tuple[Any, ...]]] = {}
        config = self._training.config
        if self._main and self.begin.step and "wandb" in config.tracking.trackers:
            with contextlib.suppress(OSError):  # a run that was stopped before its first line
                for line in read_lines(config.run_directory / "metrics.jsonl"):
                    if rows := _rows(line):
                        tables.setdefault(_measured(line), []).extend(rows)
        return tables

    def holds(self, name: str, of_set: str | None = None) -> bool:
        """Whether metrics.jsonl has a `name` of the step at which this start began, of no sample. All processes call this.

        Args:
            name: of the measure.
            of_set: a further validation set that it is of.
        """
        sampled = "eval_sample" if of_set is None else f"{SET}_sample"

        def found() -> bool:
            with contextlib.suppress(OSError):
                lines = read_lines(self._training.config.run_directory / "metrics.jsonl")
                here = [line for line in lines if line["step"] == self.begin.step and line.get(SET) == of_set]
                return any(name in line and not line.get(sampled) for line in here)
            return False

        return self._training.agreement.from_main(self._main and found())

    def samples(self, lines: list[dict[str, Any]]) -> None:
        """Keep completions in log/samples.jsonl, and show them in W&B. The main process calls this."""
        for line in lines:
            self._samples.append(line)
        if lines:
            columns = ("step", "prompt", "completion")
            self._trackers.table("samples", columns, [[line[name] for name in columns] for line in lines], lines[0]["step"])

    def draw(self) -> None:
        """Draw plots/loss.png. A failure is only reported."""
        folder = self._training.config.run_directory
        if self._main and (folder / "metrics.jsonl").exists():  # a run that was stopped before its first line has no curve
            try:
                plot.draw([folder], folder / "plots" / "loss.png")
            except (OSError, ValueError, ImportError, CodeparrotError) as error:
                logger.warning("cannot draw %s: %s", folder / "plots" / "loss.png", error)

    def _report(self, record: StepRecord, documents: list[dict[str, Any]]) -> None:
        """Write down an anomaly with the documents of its batch."""
        values = {"loss": _finite(record.loss), "grad_norm": _finite(record.grad_norm), "limit": _finite(record.limit)}
        line = {"step": record.step, "reason": record.reason, "skipped": record.skipped, **values, "documents": documents}
        self._anomalies.append(line)
        numbers = f"loss {record.loss:.4g}, gradient norm {record.grad_norm:.4g}, limit {record.limit:.4g}"
        if record.skipped:
            logger.warning(
                "step %d was skipped: %s (%s); its documents are in anomalies.jsonl", record.step, record.reason, numbers
            )
        else:
            text = "step %d had a large gradient (%s); now and then that is normal, and its documents are in anomalies.jsonl"
            logger.info(text, record.step, numbers)

    def _restart(self, progress: Progress) -> None:
        self._window_start, self._window_tokens, self._data_seconds = time.perf_counter(), progress.tokens, 0.0

    def _tokens_left(self, progress: Progress) -> int:
        """Return the tokens of the steps to come, padding included."""
        training = self._training
        return training.tokens_before(training.config.train.max_steps) - training.tokens_before(progress.step)


def documents_behind(training: Training, record: StepRecord) -> list[dict[str, Any]]:
    """Return the documents in the global batch of a step. All processes call this."""
    windows = training.batches.size(record.step - 1)
    try:
        own = training.stream.documents(record.before, windows // training.accelerator.num_processes)
    except (CodeparrotError, OSError) as error:
        logger.warning("the documents of step %d cannot be read again: %s", record.step, error)
        own = []
    together = [window for windows in training.agreement.gather(own) for window in windows]
    return sorted(together, key=lambda window: window["position"])


def _packed(facts: dict[str, float]) -> str:
    """Return what a line of the log says of windows that predict different numbers of tokens, ready to be followed."""
    padded = "padding_fraction" in facts
    words = ["padding {padding_fraction:.2%}, {cut_fraction:.1%} of the documents cut | "] if padded else []
    words += ["{predicted_fraction:.0%} predicted | "] if "predicted_fraction" in facts else []
    return "".join(words).format(**facts)


def _measured(line: dict[str, Any]) -> str:
    """Return what a line of unit tests measures, in one word."""
    return "pass_at_k" if "pass@1" in line else "infilling"


def _rows(line: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return a row for each score by unit tests in a line; none if it has no such."""
    scores = {name: value for name, value in line.items() if is_score(name)}
    return [(line["step"], line["tokens"], problems_of(line), name, value) for name, value in scores.items()]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

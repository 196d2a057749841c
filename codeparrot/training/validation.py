"""An evaluation of a run: all processes measure the validation set, and the model completes prompts.

During the run a sample is measured, the same each time, so that evaluations cost a small share of the training however large
the set is; the end of the run measures all of it. A request to stop interrupts an evaluation at the next batch or token, and a
partial measurement is not reported.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.distributed.fsdp import FSDPModule

from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.eval.tasks.perplexity import MaskedScore, Score, bytes_per_token, evaluate
from codeparrot.generation.engine import Engine
from codeparrot.generation.multinomial import Multinomial, Noise
from codeparrot.generation.requests import Request
from codeparrot.model.documents import within_documents
from codeparrot.model.kinds import predicted
from codeparrot.objectives.fim import Middles
from codeparrot.objectives.middles import MiddleSet, load_middles
from codeparrot.objectives.objective import MakesFixedExamples, changes_of, pairs_of
from codeparrot.objectives.validation import ExampleSet
from codeparrot.result import progress_bar, say
from codeparrot.run.metrics import SET
from codeparrot.run.progress import Progress
from codeparrot.stream import ValidationSet, load_validation_set
from codeparrot.stream.batches import batches_of
from codeparrot.stream.labels import languages_to_measure
from codeparrot.stream.mixture import further_sets
from codeparrot.training.likelihood import Likelihood
from codeparrot.training.monitor import Monitor
from codeparrot.training.parts import Training
from codeparrot.training.preemption import StopRequest
from codeparrot.training.sharding import averaged, has_average
from codeparrot.training.tracking import ONLY_IN_FILE

logger = logging.getLogger("codeparrot")

VALIDATION, ALSO, AVERAGED, MIDDLES = "validation", "also", "the average of the weights", "middles"
"""What an evaluation measures."""
BUDGET = 0.02
"""Share of the training's compute that evaluations of a set during the run may cost, unless evaluate.max_tokens says more.

Not of all sets together: one that is named later would make the samples of the others smaller, and their curves two curves."""
FORWARD_SHARE = 1 / 3
"""What a forward pass costs of a step on as many tokens: the backward pass costs twice as much."""


def sample_tokens(config: Config) -> int:
    """Return the tokens of each validation set that an evaluation during the run measures at most; 0: all."""
    if config.evaluate.max_tokens != "auto":
        return config.evaluate.max_tokens
    train = config.train
    num_evaluations = 1 + train.max_steps // config.evaluate.every_steps
    trained = batches_of(train).before(train.max_steps) * config.stream.seq_length
    return max(1, int(BUDGET / FORWARD_SHARE * trained / num_evaluations))


def num_measures(config: Config) -> int:
    """Return how often an evaluation passes over a validation set: each set, and the first with the average of the weights."""
    return 1 + len(further_sets(config)) + bool(config.train.ema_decay)


class Apart(NamedTuple):
    """Windows whose documents do not see each other."""

    windows: ValidationSet | MiddleSet
    end_of_document: int

    def num_batches(self, size: int) -> int:
        return self.windows.num_batches(size)

    def language_batch(self, index: int, size: int) -> NDArray[np.int64]:
        """Return the languages of a batch's tokens, as `ValidationSet.language_batch` does."""
        assert isinstance(self.windows, ValidationSet)
        return self.windows.language_batch(index, size)

    def batch(self, index: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a batch's input ids and labels, as `ValidationSet.batch` does."""
        input_ids, labels = self.windows.batch(index, size)
        return input_ids, within_documents(input_ids, labels, self.end_of_document)


Examples = ValidationSet | MiddleSet | Apart | ExampleSet
AnyScore = Score | MaskedScore


class Measured(NamedTuple):
    """A validation set."""

    whole: ValidationSet
    sample: ValidationSet
    """What is measured during the run: the same windows each time."""
    sampling: bool
    """Whether the sample is less than the whole, over all processes."""

    def of(self, whole: bool) -> ValidationSet:
        return self.whole if whole else self.sample


class Validation:
    """Measures the current model."""

    def __init__(self, training: Training, monitor: Monitor, stop: StopRequest) -> None:
        config, accelerator = training.config, training.accelerator
        self.score: AnyScore | None = None
        """That of the last evaluation, or None if it was interrupted."""
        self.interrupted = False
        """Whether a request to stop ended the last evaluation. The same on all processes."""
        self._training, self._monitor, self._stop = training, monitor, stop
        self._on = bool(config.stream.valid) and config.evaluate.every_steps > 0
        self._further: dict[str, Measured] = {}
        if not self._on:
            return
        say("reading the validation set")
        self._valid = self._read("stream.valid", config.stream, "validation")
        further = further_sets(config).items()
        self._further = {name: self._read(each.setting, each.stream, name, each.description) for name, each in further}
        self._middles = self._middles_to_measure()
        vocab_size = training.skeleton.get_input_embeddings().num_embeddings
        self._token_bytes = bytes_per_token(training.tokenizer, vocab_size).to(accelerator.device)
        self._likelihood = Likelihood(training, monitor)
        self._writes = training.kind == "causal"

    def is_measured(self) -> bool:
        """Whether the step at which this start began was measured on all of every set. All processes call this."""
        found = [self._monitor.holds("eval_loss"), *(self._monitor.holds(f"{SET}_loss", name) for name in self._further)]
        return all(found)

    def run(self, progress: Progress, whole: bool) -> None:
        """Evaluate on the `whole` set or on the sample of it, log, and write samples. All processes call this."""
        if not self._on:
            return
        with self._monitor.paused(), self._training.uncompiled():
            found = dict(self._measures(progress, whole))
            whole_of_it = None not in found.values() and self._likelihood.run(progress, self._all_stop)
            scores = {name: score for name, score in found.items() if score is not None and whole_of_it}
            self.score, self.interrupted = scores.get(VALIDATION), not whole_of_it
            if self.score is None:
                logger.info("the evaluation at step %d was interrupted: the run is stopping", progress.step)
                return
            others = {"middle_loss": scores[MIDDLES].loss} if MIDDLES in scores else {}
            if average := scores.get(AVERAGED):
                others |= {"ema_loss": average.loss}
                others |= {"ema_bits_per_byte": average.bits_per_byte} if isinstance(average, Score) else {}
            self._monitor.evaluated(progress, self.score, self._valid.sampling and not whole, others)
            for name, each in self._further.items():
                self._monitor.further(progress, name, scores[f"{ALSO} {name}"], each.sampling and not whole)
            if self._training.config.evaluate.sample_tokens and self._writes:
                self._sample(progress)

    def _measures(self, progress: Progress, whole: bool) -> Iterator[tuple[str, AnyScore | None]]:
        """Yield what is measured and its score; the first that was interrupted (None) is the last. All processes call this."""
        sets: dict[str, ValidationSet | MiddleSet] = {VALIDATION: self._valid.of(whole)}
        sets |= {f"{ALSO} {name}": each.of(whole) for name, each in self._further.items()}
        sets |= {AVERAGED: self._valid.of(whole)} if has_average(self._training.sharded) else {}
        sets |= {MIDDLES: self._middles} if self._middles else {}
        for name, windows in sets.items():
            with averaged(self._training.sharded, self._training.model) if name == AVERAGED else nullcontext():
                # The average is measured as a whole: which languages it is better in, the other curves say.
                score = self._measure(progress, windows, by_language=name != AVERAGED)
            yield name, score
            if score is None:
                return

    def _read(self, setting: str, stream: StreamConfig, name: str, description: str = "") -> "Measured":
        """Read a validation set and draw its sample. All processes call this."""
        training, accelerator, config = self._training, self._training.accelerator, self._training.config
        pairs = pairs_of(training.objective, config, training.tokenizer, description)
        whole = load_validation_set(
            *(stream, training.stream.encoder),
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            setting=None if setting == "stream.valid" else setting,
            description=description,
            transform=pairs.of_validation() if pairs else None,
            by_language=training.kind == "causal",
            broken_off=lambda: self._stop.requested,
        )
        (stopped,) = training.agreement.any(self._stop.requested)
        if not sum(training.agreement.gather(whole.num_predicted)) and not stopped:
            raise CodeparrotError(f"{setting} holds no tokens to predict: name other data, or leave it out")
        self._monitor.left_out.add(self._monitor.begin.step, whole.damaged.values())
        whole = whole.named(languages_to_measure(training.agreement.gather(whole.tokens_by_language)))
        most = sample_tokens(config)
        sample = whole.sample(max(1, most // (config.stream.lanes * config.stream.seq_length))) if most else whole
        tokens, sampled = (sum(training.agreement.gather(each.num_tokens)) for each in (whole, sample))
        if accelerator.is_main_process:
            some = f"at the end, {sampled:,} of them, always the same, during the run"
            named = f", by language: {', '.join(whole.names)}" if whole.names else ""
            logger.info("%-11s %s tokens %s%s", name, f"{tokens:,}", some if sampled < tokens else "at each evaluation", named)
        return Measured(whole, sample, sampled < tokens)

    def _middles_to_measure(self) -> MiddleSet | None:
        """Read the middles that evaluations measure where the objective has them. All processes call this."""
        training, accelerator, config = self._training, self._training.accelerator, self._training.config
        transform = changes_of(training.objective, config, training.tokenizer)
        if not isinstance(transform, Middles):
            return None
        middles = load_middles(
            *(config.stream, transform, training.stream.encoder),
            num_tokens=sample_tokens(config),
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            broken_off=lambda: self._stop.requested,
        )
        (stopped,) = training.agreement.any(self._stop.requested)
        tokens = sum(training.agreement.gather(middles.num_predicted))
        if accelerator.is_main_process and not stopped:
            logger.info("middles     %s tokens of middles at each evaluation, always the same", f"{tokens:,}")
        return middles if tokens else None

    def _measure(self, progress: Progress, valid: ValidationSet | MiddleSet, by_language: bool = True) -> AnyScore | None:
        training, config = self._training, self._training.config
        accelerator = training.accelerator
        size = config.evaluate.micro_batch_size or config.train.micro_batch_size
        with progress_bar(
            total=valid.num_batches(size),
            desc="evaluation",
            unit="batch",
            leave=False,
            shown=accelerator.is_main_process,
        ) as bar:

            def count() -> None:
                bar.update()
                training.watchdog.beat(progress.step, "evaluation")

            score = evaluate(
                training.model,
                self._examples(valid),
                batch_size=size,
                token_bytes=self._token_bytes,
                device=accelerator.device,
                add_up=lambda sums: accelerator.reduce(sums, "sum"),
                most=lambda number: max(training.agreement.gather(number)),
                predicted=lambda labels: predicted(labels, training.kind),
                languages=valid.names if by_language and isinstance(valid, ValidationSet) else (),
                progress=count,
                broken_off=self._all_stop,
            )
        # A hidden token is predicted with others beside it hidden too: its likelihood is not one of text.
        return score if score is None or self._writes else MaskedScore(score.loss, score.perplexity, score.tokens)

    def _examples(self, valid: ValidationSet | MiddleSet) -> Examples:
        """Return the batches that the model is measured on."""
        training = self._training
        end = training.tokenizer.eos_token_id
        if isinstance(training.objective, MakesFixedExamples) and isinstance(valid, ValidationSet):
            return ExampleSet(valid, training.objective, end)
        return Apart(valid, end) if training.config.stream.document_mask else valid

    def _all_stop(self) -> bool:
        return self._training.agreement.any(self._stop.requested)[0]

    def _sample(self, progress: Progress) -> None:
        """Complete the prompts on the main process. If it does not hold the whole model, all processes do the same work."""
        training, config = self._training, self._training.config.evaluate
        together, main = training.sharded.sharded, training.accelerator.is_main_process
        if not together and not main:
            return
        if isinstance(training.model, FSDPModule):
            # Generation calls modules below the root; only the root's forward pass would gather the root's own parameters.
            training.model.unshard()
        try:
            with training.accelerator.autocast():  # FSDP2 gathers weights for it
                texts = self._completions(progress.step, self._all_stop if together else lambda: self._stop.requested)
        except CodeparrotError as error:
            # Whether the run goes on is for the loop to decide, which knows what to advise.
            logger.warning("no samples at step %d: %s", progress.step, error)
            return
        pairs = zip(config.prompts, texts, strict=True)
        lines = [{"step": progress.step, "prompt": prompt, "completion": text} for prompt, text in pairs]
        for line in lines:
            shown = f"{line['prompt']}{line['completion']}".replace("\n", "\n    ")
            logger.info("sample: %s", shown, extra=ONLY_IN_FILE)
        if main:
            self._monitor.samples(lines)

    def _completions(self, step: int, broken_off: Callable[[], bool]) -> list[str]:
        """Complete the prompts side by side, each with the random numbers that it would have alone."""
        training, config = self._training, self._training.config
        model, ends = training.language_model, frozenset({training.tokenizer.eos_token_id})
        most = config.evaluate.micro_batch_size or config.train.micro_batch_size
        with Engine(model, training.tokenizer, most, multiple=1) as engine:
            completions = []
            for prompt in config.evaluate.prompts:
                sampler = Multinomial(temperature=0.8, top_p=0.95, noise=Noise(step, 1, model.device))
                completions.append(engine.submit(Request(prompt, sampler, config.evaluate.sample_tokens, ends=ends)))
            for _ in engine.run(broken_off):
                training.watchdog.beat(step, "samples")
        return [each.text for each in completions]

"""An evaluation of a run: the whole validation set is measured on all processes, and prompts are completed."""

import logging
from typing import Any

from tqdm import tqdm

from codeparrot.checkpoint import Progress
from codeparrot.complete import generate_completions
from codeparrot.eval.perplexity import Score, bytes_per_token, evaluate
from codeparrot.monitor import Monitor
from codeparrot.state import Training
from codeparrot.stream import Encoder, load_validation_set
from codeparrot.tracking import ONLY_IN_FILE

logger = logging.getLogger("codeparrot")


class Evaluation:
    """Measures the model as it is."""

    def __init__(self, training: Training, encoder: Encoder, monitor: Monitor) -> None:
        config, accelerator = training.config, training.accelerator
        self.score: Score | None = None
        """The last one."""
        self._training, self._monitor = training, monitor
        self._on = bool(config.stream.valid) and config.evaluate.every_steps > 0
        if not self._on:
            return
        self._valid = load_validation_set(
            config.stream, encoder, rank=accelerator.process_index, world_size=accelerator.num_processes
        )
        vocab_size = training.language_model.get_input_embeddings().num_embeddings
        self._token_bytes = bytes_per_token(training.tokenizer, vocab_size).to(accelerator.device)

    def run(self, progress: Progress) -> None:
        """Evaluate, log, and write samples. All processes call this."""
        if not self._on:
            return
        training, config = self._training, self._training.config
        accelerator = training.accelerator
        size = config.evaluate.micro_batch_size or config.train.micro_batch_size
        with self._monitor.paused():
            with tqdm(
                total=self._valid.num_batches(size),
                desc="evaluation",
                unit="batch",
                leave=False,
                disable=None if accelerator.is_main_process else True,
            ) as bar:
                self.score = evaluate(
                    training.model,
                    self._valid,
                    batch_size=size,
                    token_bytes=self._token_bytes,
                    device=accelerator.device,
                    add_up=lambda sums: accelerator.reduce(sums, "sum"),
                    most=lambda count: max(training.agreement.gather(count)),
                    progress=bar.update,
                )
            self._monitor.evaluated(progress, self.score)
            if accelerator.is_main_process and config.evaluate.sample_tokens:
                self._sample(progress)

    def _sample(self, progress: Progress) -> None:
        config = self._training.config.evaluate
        lines: list[dict[str, Any]] = []
        for prompt in config.prompts:
            (text,) = generate_completions(
                self._training.language_model,
                self._training.tokenizer,
                prompt,
                temperature=0.8,
                max_new_tokens=config.sample_tokens,
                seed=progress.step,
                stop=(),
            )
            lines.append({"step": progress.step, "prompt": prompt, "completion": text})
            logger.info("sample: %s", (prompt + text).replace("\n", "\n    "), extra=ONLY_IN_FILE)
        self._monitor.samples(lines)

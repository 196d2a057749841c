"""Pretrain a causal language model: `accelerate launch codeparrot/train.py --config configs/nano.yaml`.

Read top to bottom: the parts are made, the run goes on from its newest checkpoint, the loop takes steps. A step is one global
batch: micro-batches forward and backward (one all-reduce of the gradients, at the last), clip, update. What is due behind a
step (metrics, evaluation, checkpoint, stop) follows at its end. All processes run every line; what only one does says so.
"""

import sys
from typing import Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.publishing.beside_training import Pushes
from codeparrot.result import Result
from codeparrot.run.progress import Progress
from codeparrot.training.preemption import StopRequest, TimeLimit


def train(config: Config) -> Result:
    """Train until `train.max_steps` or until asked to stop, and return how it went.

    Raises:
        CodeparrotError: the settings cannot work together, or with the data, the tokenizer or the run directory; a process
            died; too many steps in a row were skipped.
    """
    with StopRequest() as stop:
        from codeparrot.training.processes import start_processes
        from codeparrot.training.watchdog import Watchdog

        accelerator = start_processes(config)
        startup_seconds, timeout_seconds = 60 * config.train.startup_minutes, 60 * config.train.timeout_minutes
        with Pushes(config, accelerator.is_main_process) as pushes:
            with Watchdog(accelerator, startup_seconds, timeout_seconds) as watchdog, watchdog.explaining():
                result = _train(config, accelerator, stop, watchdog, pushes)
            # Nobody waits for the main process any more.
            return Result(result.text, result.data | pushes.finish(lambda: stop.requested))


def _train(config: Config, accelerator: Any, stop: StopRequest, watchdog: Any, pushes: Pushes) -> Result:
    import torch
    from transformers.utils.logging import disable_progress_bar

    from codeparrot.loading import fit_vocabulary, load_tokenizer
    from codeparrot.model import hardware
    from codeparrot.model.families import build_model, model_config, without_weights
    from codeparrot.optim.adamw import build_optimizer, set_learning_rate
    from codeparrot.optim.schedule import learning_rate
    from codeparrot.stream import ConstantLengthDataset, make_encoder
    from codeparrot.training import resume as state
    from codeparrot.training.health import Health
    from codeparrot.training.monitor import Monitor
    from codeparrot.training.parts import Training, seed_step
    from codeparrot.training.pass_at_k import UnitTests
    from codeparrot.training.processes import Agreement, strategy_of
    from codeparrot.training.run_directory import run_directory
    from codeparrot.training.saver import Saver
    from codeparrot.training.sharding import sharded_state
    from codeparrot.training.validation import Evaluation

    disable_progress_bar()  # of transformers: the run has its own
    device, world_size, rank = accelerator.device, accelerator.num_processes, accelerator.process_index
    if device.type == "cpu":
        hardware.keep_freed_memory()

    # Model and tokenizer: what does not fit together fails here, before a run directory exists.
    tokenizer = load_tokenizer(config.tokenizer.path)
    settings = fit_vocabulary(model_config(config.model), tokenizer, config)

    with run_directory(config, accelerator) as directory:
        watchdog.log = directory.log(rank)
        # Data: this process's lanes of the stream.
        encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id, config.stream.encoder)
        stream = ConstantLengthDataset(config.stream, encoder, seed=config.run.seed, rank=rank, world_size=world_size)

        # Model and optimizer, wrapped for however many processes there are; what splits the model moves it to the device.
        checkpointing, compiled = config.train.gradient_checkpointing, config.train.compile
        model = build_model(settings, gradient_checkpointing=checkpointing, seed=config.run.seed, compile=compiled)
        model = model.to(device) if strategy_of(accelerator) == "replicated" else model
        language_model = model.model
        betas = (config.optim.beta1, config.optim.beta2)
        adamw = build_optimizer(model, config.optim.lr, betas, config.optim.eps, config.optim.weight_decay)
        model, optimizer = accelerator.prepare(model, adamw)
        zero = model.optimizer if strategy_of(accelerator) == "deepspeed" else None

        # Go on from the newest complete checkpoint, if there is one.
        training = Training(
            config=config,
            accelerator=accelerator,
            agreement=Agreement(accelerator),
            watchdog=watchdog,
            model=model,
            skeleton=without_weights(settings),
            tokenizer=tokenizer,
            stream=stream,
            sharded=sharded_state(accelerator, model, language_model, adamw),
            health=Health(config.train, accelerator, adamw, zero),
        )
        begin, origin = state.resume(training)
        progress = begin
        directory.write_origin(origin)
        pushes.start(training.agreement)
        checkpoints, health = Saver(training, begin, origin, pushes.published), training.health
        monitor = Monitor(training, settings, begin)
        evaluation, unit_tests = Evaluation(training, encoder, monitor, stop), UnitTests(training, monitor, stop)
        if accelerator.is_main_process:
            limit, margin = TimeLimit(), config.checkpoint.time_limit_margin_seconds
            stop.at(lambda: limit.reached(margin + 2 * checkpoints.longest_seconds))

        def lr_of(step: int) -> float:
            return learning_rate(
                step,
                peak=config.optim.lr,
                warmup_steps=config.schedule.warmup_steps,
                max_steps=config.train.max_steps,
                name=config.schedule.name,
                final_fraction=config.schedule.final_fraction,
                decay_fraction=config.schedule.decay_fraction,
            )

        micro_batches = config.micro_batches(world_size)
        tokens_per_step = config.train.global_batch_size * config.stream.seq_length
        (stopped,) = training.agreement.any(stop.requested)
        batches = stream.batches(config.train.micro_batch_size)
        with directory.status(stop, begin.step, watchdog), watchdog.explaining(), monitor, batches:
            if progress.step == 0 and not stopped:
                evaluation.run(progress)
            while progress.step < config.train.max_steps and not stopped:
                # One step: one global batch.
                set_learning_rate(optimizer, lr_of(progress.step))
                seed_step(config.run.seed, progress.step, rank)
                before = stream.states
                loss, grad_norm = torch.zeros((), device=device), torch.zeros((), device=device)
                for _ in range(micro_batches):
                    with monitor.waiting_for_data():
                        input_ids = to_device(next(batches), device)
                    with accelerator.accumulate(model):
                        # Every window is full, so the mean over micro-batches and processes is the mean over all tokens.
                        micro_loss = model(input_ids, input_ids)
                        accelerator.backward(health.guard(micro_loss))
                        loss += micro_loss.detach() / micro_batches
                        if accelerator.sync_gradients:
                            grad_norm = accelerator.clip_grad_norm_(model.parameters(), config.optim.clip_norm or float("inf"))
                            health.before_update(grad_norm)
                        optimizer.step()
                        optimizer.zero_grad()
                progress = Progress(progress.step + 1, progress.tokens + tokens_per_step)
                health.done(progress.step, loss, grad_norm, before)

                # What is due behind it.
                directory.step = progress.step
                watchdog.beat(progress.step, "training")
                monitor.step(progress, lr_of(progress.step - 1))
                if health.hopeless:
                    checkpoints.finish()
                    raise health.error()
                stopped, save_now, busy = training.agreement.any(stop.requested, checkpoints.due_by_time(), checkpoints.busy)
                if not busy:
                    checkpoints.advance()
                last = progress.step == config.train.max_steps
                if last or (_due(progress.step, config.evaluate.every_steps) and not stopped):
                    evaluation.run(progress)
                unit_tests.report()
                if last or (_due(progress.step, config.evaluate.humaneval_every_steps) and not stopped):
                    unit_tests.run(progress)
                if last or stopped or save_now or _due(progress.step, config.checkpoint.every_steps):
                    with monitor.paused():
                        monitor.review()
                        checkpoints.save(progress)
            checkpoints.finish()
            unit_tests.finish()
            stop.agree(training.agreement.gather)
            result = outcome(config, begin, progress, evaluation.score, checkpoints)
        monitor.draw()
        # Together: a launcher ends the others as soon as one has ended with a status.
        training.agreement.any(False)
        return result


def to_device(windows: Any, device: Any) -> Any:
    """Return a batch on the device; a GPU is not waited for."""
    import torch

    batch = torch.from_numpy(windows)
    return batch.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else batch.to(device)


def outcome(config: Config, begin: Progress, end: Progress, score: Any, checkpoints: Any) -> Result:
    """Say what was reached and how to go on.

    Raises:
        CodeparrotError: the state of the run could not be saved.
    """
    if checkpoints.saved_step != end.step:
        raise CodeparrotError(
            f"the run ended at step {end.step} and its checkpoint could not be written; make room on the disk and run the same "
            f"command again: it goes on from step {checkpoints.saved_step}"
        )
    facts = {
        "run": str(config.run_directory),
        "step": end.step,
        "tokens": end.tokens,
        "resumed_from_step": begin.step,
        "stopped": end.step < config.train.max_steps,
        **(score._asdict() if score else {}),
    }
    if facts["stopped"]:
        text = f"stopped at step {end.step} of {config.train.max_steps}, saved; run the same command again to go on"
    else:
        measured = f": {score}" if score else ""
        text = f"{config.run_directory}: trained to step {end.step}, {end.tokens:,} tokens{measured}"
    return Result(text, facts)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


if __name__ == "__main__":
    from codeparrot.cli import entry

    entry(["train", *sys.argv[1:]])

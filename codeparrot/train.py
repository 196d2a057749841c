"""Pretrain a causal language model: `accelerate launch codeparrot/train.py --config configs/nano.yaml`.

Read top to bottom: make the parts, go on from the newest checkpoint, take steps. A step is one global batch: micro-batches
forward and backward (one all-reduce of the gradients, at the last one), clip, update. What is due after a step (metrics,
evaluation, checkpoint, stop) follows at its end. All processes run every line, unless it says that only one does.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.launcher import collect_garbage_as_usual, collect_garbage_rarely, rank
from codeparrot.mirror.beside_training import Mirror
from codeparrot.publishing.beside_training import Pushes
from codeparrot.result import DONE, STOPPED, Result, say
from codeparrot.run.progress import Progress
from codeparrot.training.preemption import StopRequest


def train(config: Config) -> Result:
    """Train until `train.max_steps`, or until asked to stop; the same command then goes on.

    Raises:
        CodeparrotError: the settings cannot work together, or with the data, the tokenizer or the run directory; a process
            died; too many steps in a row were skipped.
    """
    say(f"{config.run_directory}: checking the settings and loading PyTorch")
    collect_garbage_rarely()
    from codeparrot.training.places import check_places

    check_places(config)
    with StopRequest() as stop:
        from codeparrot.training.fetching import Stopped
        from codeparrot.training.run_directory import write_stopped

        try:
            return _start(config, stop)
        except Stopped:
            if rank() == 0:
                write_stopped(config, stop.reason)
            text = (
                "stopped before the first step, while a checkpoint was fetched; run the same command again: it fetches the rest"
            )
            unknown = dict.fromkeys(("step", "resumed_from_step", "tokens"))
            return Result(text, {"run": str(config.run_directory), **unknown, "stopped": True}, STOPPED)


def _start(config: Config, stop: StopRequest) -> Result:
    from codeparrot.training.fetching import fetch_in_one
    from codeparrot.training.processes import start_processes
    from codeparrot.training.watchdog import Watchdog

    mirror = Mirror(config, rank() == 0)
    started = start_processes(config, lambda agreement: mirror.bring(partial(fetch_in_one, agreement, stop)))
    config, accelerator = started.config, started.accelerator
    startup_seconds, timeout_seconds = 60 * config.train.startup_minutes, 60 * config.train.timeout_minutes
    with Pushes(config, accelerator.is_main_process) as pushes, mirror:
        with Watchdog(accelerator, startup_seconds, timeout_seconds) as watchdog, watchdog.explaining():
            result = _train(started, stop, watchdog, pushes, mirror)
        # No other process waits for the main one any more.
        left = mirror.finish(lambda: stop.requested) | pushes.finish(lambda: stop.requested)
        return result._replace(data=result.data | left)


def _train(started: Any, stop: StopRequest, watchdog: Any, pushes: Pushes, mirror: Mirror) -> Result:
    from codeparrot.optim.optimizer import set_learning_rate
    from codeparrot.training import parts
    from codeparrot.training.monitor import Monitor
    from codeparrot.training.pass_at_k import UnitTests
    from codeparrot.training.processes import quiet_and_ready
    from codeparrot.training.resume import choose, resume, settled
    from codeparrot.training.run_directory import run_directory
    from codeparrot.training.saver import Saver
    from codeparrot.training.validation import Validation

    accelerator, config, agreement, precision = started
    quiet_and_ready(accelerator)
    # Parts that do not fit together fail here, before a run directory exists.
    fitted = parts.fit(config)
    config = fitted.config
    with run_directory(config, accelerator) as directory:
        watchdog.log = directory.log(accelerator.process_index)
        say("building the model and opening the data")
        start = parts.Start(config, accelerator, agreement, watchdog, fitted.tokenizer, fitted.settings, precision)
        place = choose(start, stop)
        start = start if place else replace(start, source=fitted.source)
        training = parts.make(replace(start, config=settled(config, place)), fitted)
        begin, origin = resume(training, place)
        directory.write_origin(origin)
        checkpoints, health = Saver(training, begin, origin, *_published(pushes, mirror, agreement)), training.health
        monitor = Monitor(training, begin)
        validation, unit_tests = Validation(training, monitor, stop), UnitTests(training, monitor, stop)
        checkpoints.stop_in_time(stop)

        collect_garbage_as_usual()
        progress, (stopped,) = begin, agreement.any(stop.requested)
        batches = training.stream.batches(config.train.micro_batch_size, training.taken_at_once)
        with directory.status(stop, begin.step, watchdog), watchdog.explaining(), monitor, batches:
            if progress.step == 0 and not stopped:
                validation.run(progress, whole=False)
                (stopped,) = agreement.any(stop.requested)
            elif progress.step == config.train.max_steps and not stopped:
                # What a request to stop interrupted at the end of an earlier start, or what nobody had asked for then.
                if not validation.is_measured():
                    validation.run(progress, whole=True)
                unit_tests.run_missing(progress)
            while progress.step < config.train.max_steps and not stopped:
                lr, before = training.learning_rate(progress.step), training.stream.states
                set_learning_rate(training.optimizer, lr)
                loss, grad_norm = _step(training, batches, progress.step, monitor)
                progress = Progress(progress.step + 1, progress.tokens + training.tokens_of(progress.step))
                health.done(progress.step, loss, grad_norm, before)

                # What is due after the step, by the flags of the step before: nobody waits for those of this one.
                directory.step = progress.step
                watchdog.beat(progress.step, "training")
                monitor.step(progress, lr)
                if health.hopeless:
                    checkpoints.finish()
                    raise health.error()
                stopped, save_now, busy = agreement.any_soon(stop.requested, checkpoints.due_by_time(), checkpoints.busy)
                if not busy:
                    checkpoints.advance()
                last = progress.step == config.train.max_steps
                if last or (_due(progress.step, config.evaluate.every_steps) and not stopped):
                    validation.run(progress, whole=last)
                unit_tests.report()
                if last or not stopped:
                    unit_tests.run_due(progress, last)
                if last or stopped or save_now or _due(progress.step, config.checkpoint.every_steps):
                    with monitor.paused():
                        monitor.review()
                        checkpoints.save(progress)
            checkpoints.finish()
            unit_tests.finish()
            stop.agree(agreement.gather)
            (directory.unmeasured,) = agreement.any(validation.interrupted or unit_tests.interrupted)
            score = validation.score if progress.step == config.train.max_steps else None
            result = outcome(config, begin, progress, score, checkpoints, monitor.left_out, directory.unmeasured)
        monitor.draw()
        # All end together: a launcher kills the others as soon as one has ended with a status.
        agreement.any(False)
        return result


def _published(pushes: Pushes, mirror: Mirror, agreement: Any) -> tuple[Callable[[], set[int]], int]:
    """Start the processes that publish checkpoints. Return what tells them of a new one, and the number that it begins at."""
    pushes.start(agreement)
    mirror.start()
    return lambda: pushes.published() | mirror.published(), max(pushes.next_number(), mirror.next_number())


def _step(training: Any, batches: Any, step: int, monitor: Any) -> tuple[Any, Any]:
    """Take one step (one global batch); return this process's mean loss and the norm of the whole gradient."""
    import torch

    from codeparrot.training.packing import micro_batches_of
    from codeparrot.training.parts import seed_step
    from codeparrot.training.strategy import accumulate_over, gather_once_a_step

    config, accelerator, model, optimizer = training.config, training.accelerator, training.model, training.optimizer
    loss, grad_norm = (torch.zeros((), device=accelerator.device) for _ in range(2))
    seed_step(config.run.seed, step, accelerator.process_index)
    count = training.micro_batches(step)
    accumulate_over(accelerator, model, count)
    micro_batches = micro_batches_of(training, batches, step)
    for micro_batch in range(count):
        with monitor.waiting_for_data():
            input_ids, labels, share = next(micro_batches)
        gather_once_a_step(accelerator, model, last=micro_batch == count - 1)
        with accelerator.accumulate(model), training.kernels():
            # The mean over micro-batches and processes is that over all tokens: every window predicts equally many, or each
            # micro-batch counts by its share of them.
            micro_loss = model(input_ids, labels)
            micro_loss = micro_loss if share is None else micro_loss * share
            accelerator.backward(training.health.guard(micro_loss))
            loss += micro_loss.detach() / count
            if accelerator.sync_gradients:
                grad_norm = accelerator.clip_grad_norm_(model.parameters(), config.optim.clip_norm or float("inf"))
                training.health.before_update(grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=not training.gradients_stay)
    return loss, grad_norm


def outcome(
    config: Config, begin: Progress, end: Progress, score: Any, checkpoints: Any, left_out: Any, unmeasured: bool
) -> Result:
    """Say what was reached and how to go on. `unmeasured`: a request to stop interrupted the last measurement.

    Raises:
        CodeparrotError: the state of the run could not be saved.
    """
    from codeparrot.objectives import load_objective
    from codeparrot.objectives.objective import kind_trained

    if checkpoints.saved_step != end.step:
        raise CodeparrotError(
            f"the run ended at step {end.step} but its checkpoint could not be written; make room on the disk and run the same "
            f"command again: it goes on from step {checkpoints.saved_step}"
        )
    facts = {
        "run": str(config.run_directory),
        "step": end.step,
        "resumed_from_step": begin.step,
        "stopped": end.step < config.train.max_steps or unmeasured,
        **({**score.facts, "eval_tokens": score.tokens} if score else {}),
        "tokens": end.tokens,  # the run's, and not those of the evaluation
        **left_out.counts,
    }
    if facts["stopped"]:
        where = f"{end.step} of {config.train.max_steps}, {'saved' if end.step else 'before the first one'}"
        why = "for its evaluation, which was interrupted" if end.step == config.train.max_steps else "to go on"
        text = f"stopped at step {where}; run the same command again {why}"
    else:
        measured = f": {score}" if score else ""
        state = "was finished already" if begin.step == end.step else "finished"
        run, further = config.run_directory, f"--run.name NAME --train.max_steps {2 * config.train.max_steps}"
        use = "complete" if kind_trained(load_objective(config.objective)) == "causal" else "embed . --output vectors.parquet"
        # The command of a child names a checkpoint to begin at already.
        command = f"codeparrot train --config {run}/config.yaml" if config.parent else "the same command with"
        text = (
            f"{run}: {state}, trained to step {end.step}, {end.tokens:,} tokens{measured}\n"
            f"try it: codeparrot {use} --checkpoint {run}; go further: {command} --resume {run} {further}"
        )
    missing = f"\n{left_out}" if str(left_out) else ""
    return Result(text + missing, facts, STOPPED if facts["stopped"] else DONE)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


if __name__ == "__main__":
    from codeparrot.cli import entry

    entry(["train", *sys.argv[1:]])

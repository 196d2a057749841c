"""Generate the samples of an evaluation: on several processes, in shares of a job array, over as many starts as it takes.

Processes run no collectives while they generate: each takes its part of the missing samples and appends to its own file, so a
slow or dead process costs the others nothing. A later start with another number of processes keeps what was written.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.eval import samples as store
from codeparrot.eval.problems.problem import P
from codeparrot.eval.sampling import Key, Sampling, generate
from codeparrot.eval.task import Task
from codeparrot.result import progress_bar

END_MARGIN_SECONDS = 60.0
"""Inside a SLURM job, generation ends this long before the job does."""


@dataclass(frozen=True)
class Processes:
    """The processes of this start."""

    rank: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None
    """Returns once all of them have called it."""
    close: Callable[[], None] = lambda: None

    @property
    def main(self) -> bool:
        return self.rank == 0


def start(device: str) -> tuple[Processes, str]:
    """Return the processes that the launcher started, and the device of this one.

    Raises:
        CodeparrotError: the launcher was asked for several processes, and another number runs.
    """
    from codeparrot.launcher import world_size_asked

    count = world_size_asked()
    if count == 1:
        return Processes(), device
    import torch
    from accelerate import PartialState

    on_cpu = device == "cpu" or not torch.accelerator.is_available()
    # The last process may finish long after the first.
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=30))
    if state.num_processes != count:
        raise CodeparrotError(f"{count} processes were launched, Accelerate sees {state.num_processes}: use launch/ddp.yaml")
    found = Processes(state.process_index, count, state.wait_for_everyone, state.destroy_process_group)
    return found, "cpu" if on_cpu else str(state.device)


@dataclass(frozen=True)
class Share:
    """One of several equal parts of the work; each is a job of its own."""

    number: int = 0
    of: int = 1

    @staticmethod
    def parse(text: str) -> "Share":
        """Read "2/8", the third of eight; an empty text is the whole.

        Raises:
            CodeparrotError: it is not a share.
        """
        if not text:
            return Share()
        number, _, of = text.partition("/")
        if not (number.isdigit() and of.isdigit() and int(number) < int(of)):
            raise CodeparrotError(f'--share "{text}" is not a share: 0/4 is the first of four')
        return Share(int(number), int(of))


def generate_missing(
    folder: Path,
    task: Task[P],
    problems: Iterable[P],
    keys: Sequence[Key],
    model: Any,
    tokenizer: Any,
    sampling: Sampling,
    batch_size: int,
    processes: Processes,
    share: Share,
    stopped: Callable[[], bool],
) -> None:
    """Generate this process's part of the samples that are not there yet.

    Args:
        folder: where the samples are.
        task: makes the requests.
        problems: all problems.
        keys: all samples, of all shares.
        model: of transformers, on its device.
        tokenizer: its tokenizer.
        sampling: how they are drawn.
        batch_size: samples at a time.
        processes: the processes of this start.
        share: of the problems.
        stopped: returns whether to end early.
    """
    by_name = {problem.task_id: problem for problem in problems}
    # Deal out whole problems, so that a prompt is read once; every share gets long and short ones.
    ordered = sorted(by_name, key=lambda name: (len(by_name[name].prompt), name))
    in_share = set(ordered[share.number :: share.of])
    done = store.read_all(folder)
    # All must read the samples that are done before one adds to them, or they would deal out different lists.
    processes.wait()
    missing = [key for key in keys if key.task_id in in_share and key not in done]
    names = [name for name in ordered if any(key.task_id == name for key in missing)] if processes.count > 1 else ordered
    own_names = set(names[processes.rank :: processes.count])
    own = [key for key in missing if key.task_id in own_names]
    if not own:
        return
    alone = processes.count == 1 and share.of == 1
    name = f"{share.number}-of-{share.of}-{processes.rank}-of-{processes.count}"
    path = folder / store.SAMPLES if alone else store.part(folder, name)
    file = store.Appender(path)
    with progress_bar(total=len(own), desc="generating", unit="sample", shown=processes.main, smoothing=0.1) as bar:
        for kept, sample in enumerate(generate(model, tokenizer, task, by_name.values(), own, sampling, batch_size, stopped)):
            try:
                file.append(sample.line())
            except OSError as error:
                words = f"{kept} new samples are kept; make room and run the same command again"
                raise CodeparrotError(f"{path} cannot be written ({error.strerror}): {words}") from error
            bar.update()


def time_is_up() -> Callable[[], bool]:
    """Return a function that tells whether the SLURM job of this process, if any, is nearly over."""
    from codeparrot.training.preemption import TimeLimit

    limit, asked = TimeLimit(), [0.0, False]

    def near() -> bool:
        # Called before each token; checks once a second.
        if time.monotonic() - asked[0] > 1.0:
            asked[:] = time.monotonic(), limit.reached(END_MARGIN_SECONDS)
        return bool(asked[1])

    return near

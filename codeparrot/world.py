"""The processes of a run: how many there are, that they are as many as were asked for, and what they agree on."""

import os
from collections.abc import Sequence
from typing import Any

from codeparrot.config import Config, check_world_size
from codeparrot.errors import CodeparrotError


def world_size_asked() -> int:
    """Return the number of processes that the launcher meant to start.

    Raises:
        CodeparrotError: the launcher was asked for several and started one: each would train alone, or one for all.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    asked = _asked_of_launcher()
    if started == 1 and asked > 1:
        raise CodeparrotError(
            f"accelerate launch was asked for {asked} processes and started one (--cpu does that); use "
            f"`accelerate launch --config_file launch/ddp.yaml --num_processes {asked} codeparrot/train.py ...`"
        )
    return started


def start_processes(config: Config) -> Any:
    """Return the Accelerator, with the process group set up and its size asserted.

    Raises:
        CodeparrotError: the processes cannot share the batch, or are not as many as were launched.
    """
    world_size = world_size_asked()
    check_world_size(config, world_size)
    import torch
    from accelerate import Accelerator
    from accelerate.utils import GradientAccumulationPlugin

    has_accelerator = torch.accelerator.is_available()
    if config.train.precision == "fp16" and not has_accelerator:
        raise CodeparrotError("train.precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
    accelerator = Accelerator(
        cpu=not has_accelerator,
        mixed_precision={"fp32": "no"}.get(config.train.precision, config.train.precision),
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=config.micro_batches(world_size)),
        log_with=list(config.tracking.trackers) or None,
        project_dir=str(config.run_directory),
        step_scheduler_with_optimizer=False,
    )
    if accelerator.num_processes != world_size:
        raise CodeparrotError(
            f"{world_size} processes were launched and Accelerate sees {accelerator.num_processes}: each would train alone; "
            "launch with one of the configurations in launch/"
        )
    return accelerator


class Agreement:
    """Lets all processes decide alike at a step, without waiting for an accelerator.

    Flags travel over gloo between CPUs, so that asking costs no device synchronisation.
    """

    def __init__(self, accelerator: Any) -> None:
        self._alone = accelerator.num_processes == 1
        if not self._alone:
            import torch.distributed as dist

            self._group = dist.new_group(backend="gloo")

    def any(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is set on any process. All processes must call this."""
        if self._alone:
            return list(flags)
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._group)
        return [bool(flag) for flag in tensor.tolist()]

    def gather(self, item: Any) -> list[Any]:
        """Return the items of all processes, in the order of their ranks. All processes must call this."""
        if self._alone:
            return [item]
        import torch.distributed as dist

        items: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(items, item, group=self._group)
        return items

    def from_main(self, item: Any) -> Any:
        """Return the item of the main process. All processes must call this."""
        return self.gather(item)[0]


def _asked_of_launcher() -> int:
    """Return `--num_processes` of the `accelerate launch` that is our parent, or 1."""
    import psutil

    try:
        words = psutil.Process().parent()
        command: Sequence[str] = words.cmdline() if words else []
    except psutil.Error:
        return 1
    words_of = [part for word in command for part in (word.split("=", 1) if word.startswith("--") else [word])]
    if not any("accelerate" in word for word in words_of[:3]) or "--num_processes" not in words_of:
        return 1
    value = words_of[words_of.index("--num_processes") + 1 :][:1]
    return int(value[0]) if value and value[0].isdigit() else 1

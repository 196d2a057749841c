"""The processes of a run: their number, checked against the number asked for, and how they share the model."""

import logging
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, NamedTuple

from codeparrot.checks import check_world_size
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError, from_outside, how_to_install
from codeparrot.launcher import rank, sharded, world_size_asked
from codeparrot.training.agreement import Agreement
from codeparrot.training.deepspeed import deepspeed_file, keep_to_gloo, set_up_deepspeed
from codeparrot.training.precision import BEGUN, Precision, settle
from codeparrot.training.strategy import set_up_fsdp, strategy_of

logger = logging.getLogger("codeparrot")

BUCKET_MB = 100
"""Gradients that DDP sends together. Fewer and larger messages than torch's 25 MB; launch/zero*.json have the same."""
WATCHDOG_FIRST_MINUTES = 1.0
"""How much longer than the watchdog a collective waits, so that the watchdog speaks first."""
LONGEST_WAIT_MINUTES = 30.0 * 24 * 60


class Started(NamedTuple):
    """What the processes of a run begin with."""

    accelerator: Any
    config: Config
    """With the precision settled."""
    agreement: Agreement
    precision: Precision


def start_processes(config: Config, bring: Callable[[Agreement], object] = lambda agreement: None) -> Started:
    """Start the process group, assert its size, and settle the precision of the run.

    Args:
        config: of the run.
        bring: called by all processes before anything looks for the checkpoint from which the run goes on.

    Raises:
        CodeparrotError: the processes cannot share the batch, Accelerate sees another number than was launched, or the launch
            configuration contradicts the recipe.
    """
    world_size = world_size_asked()
    check_world_size(config, world_size)
    if sharded() == "DeepSpeed" and find_spec("deepspeed") is None:
        raise CodeparrotError(f"the launch configuration asks for DeepSpeed; install it: {how_to_install('deepspeed')}")
    if sharded() and "RANK" not in os.environ:
        raise CodeparrotError(
            f"ACCELERATE_USE_{sharded().upper()} is set, but no launcher started this process: use `accelerate launch "
            f"--config_file launch/{'zero2' if sharded() == 'DeepSpeed' else 'fsdp'}.yaml codeparrot/train.py ...`, or unset it"
        )
    import torch

    has_accelerator = torch.accelerator.is_available()
    of_the_cpu, handlers = ({}, []) if has_accelerator else _on_the_cpu()
    from accelerate import Accelerator, PartialState
    from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, parse_flag_from_env

    _check_precision(Precision(config.train.precision), config, has_accelerator)
    plugin = deepspeed_file()
    if sharded() == "DeepSpeed" and not has_accelerator:
        keep_to_gloo()
    try:
        on_cpu = of_the_cpu.get("cpu", False) or parse_flag_from_env("ACCELERATE_USE_CPU")
        _join(config, on_cpu)
        state = PartialState(on_cpu, **_of_the_group(handlers))
    except (ValueError, RuntimeError) as error:
        raise from_outside(error) or _not_started(error) from error
    agreement = Agreement(state)
    bring(agreement)
    precision = settle(config, state, agreement)
    _check_precision(precision, config, has_accelerator)
    config = replace(config, train=replace(config.train, precision=precision.name))
    _name_what_is_passed_over(config, world_size)
    try:
        accelerator = Accelerator(
            mixed_precision={"fp32": "no"}.get(config.train.precision, config.train.precision),
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=config.micro_batches(world_size),
                # Otherwise FSDP2 would hold the float32 gradients of the whole model until the last micro-batch.
                sync_each_batch=sharded() == "FSDP",
            ),
            kwargs_handlers=[
                DistributedDataParallelKwargs(gradient_as_bucket_view=True, bucket_cap_mb=BUCKET_MB),
                *handlers,
            ],
            project_dir=str(config.run_directory),
            step_scheduler_with_optimizer=False,
            **({"deepspeed_plugin": plugin} if plugin else {}),
            **of_the_cpu,
        )
    except (ValueError, RuntimeError) as error:
        raise from_outside(error) or _not_started(error) from error
    if accelerator.num_processes != world_size:
        raise CodeparrotError(
            f"{world_size} processes were launched but Accelerate sees {accelerator.num_processes}: each would train alone; "
            "launch with one of the configurations in launch/"
        )
    if strategy_of(accelerator) == "deepspeed":
        set_up_deepspeed(accelerator.state.deepspeed_plugin, config, world_size)
    elif strategy_of(accelerator) == "fsdp":
        set_up_fsdp(accelerator)
    return Started(accelerator, config, agreement, precision)


def _check_precision(precision: Precision, config: Config, has_accelerator: bool) -> None:
    import torch

    name = f"train.precision {precision.name}"
    if precision.name == "fp16" and not has_accelerator:
        fault, others = f"{name} needs a GPU", ["bf16", "fp32"]
    elif precision.name == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(False):
        fault, others = f"{torch.cuda.get_device_name()} does not support {name}", ["fp16", "fp32"]
    else:
        return
    if precision.reason == BEGUN:
        place = config.run_directory if config.resume == "auto" else config.resume
        how = f"--resume {place} --train.precision fp32"
        raise CodeparrotError(f"{fault}, and the run was begun in it; to go on in fp32: {how}")
    raise CodeparrotError(f"{fault}; use {', '.join(['auto', *others[:-1]])} or {others[-1]}")


def _of_the_group(handlers: list[Any]) -> dict[str, Any]:
    """Return those of the Accelerator's arguments that are for the process group."""
    return {name: value for handler in handlers for name, value in handler.to_kwargs().items()}


def longest_wait(config: Config) -> timedelta:
    """Return how long a collective waits before it gives up: longer than the watchdog, which names the process that hangs."""
    minutes = max(config.train.startup_minutes, config.train.timeout_minutes) + WATCHDOG_FIRST_MINUTES
    return timedelta(minutes=min(minutes, LONGEST_WAIT_MINUTES))


def _join(config: Config, on_cpu: bool = False) -> None:
    """Set up the process group as Accelerate would, but bound to this process's device and with `longest_wait`.

    Libraries make further groups, to which no time-out can be given (DeepSpeed copies this one); they take torch's defaults.
    """
    if "RANK" not in os.environ:  # launcher.py: this process is alone
        return
    import torch
    import torch.distributed as dist
    from torch.distributed import distributed_c10d

    wait = longest_wait(config)
    for name in ("default_pg_timeout", "default_pg_nccl_timeout"):
        setattr(distributed_c10d, name, wait)
    device, backend = None, "gloo"
    if not on_cpu and (accelerator := torch.accelerator.current_accelerator(check_available=True)):
        number = int(os.environ["LOCAL_RANK"]) % torch.accelerator.device_count()
        device, backend = torch.device(accelerator.type, number), dist.get_default_backend_for_device(accelerator)
        if os.environ.get("FSDP_OFFLOAD_PARAMS", "").lower() == "true":
            backend = f"{accelerator.type}:{backend},cpu:gloo"
    dist.init_process_group(backend, timeout=wait, device_id=device)


def _name_what_is_passed_over(config: Config, world_size: int) -> None:
    """Warn of a launch configuration that says something else than the recipe, which counts."""
    own = {
        "MIXED_PRECISION": config.train.precision,
        "GRADIENT_ACCUMULATION_STEPS": str(config.micro_batches(world_size)),
    }
    unset = {"MIXED_PRECISION": "no", "GRADIENT_ACCUMULATION_STEPS": "1"}
    for name, value in own.items():
        asked = os.environ.get(f"ACCELERATE_{name}", "").lower()
        if asked not in ("", "auto", unset[name], value) and rank() == 0:
            setting = (
                "train.precision is" if name == "MIXED_PRECISION" else "train.global_batch_size and micro_batch_size make it"
            )
            text = "the launch configuration asks for %s %s, which is passed over: %s %s"
            logger.warning(text, name.lower(), asked, setting, value)


def _not_started(error: Exception) -> CodeparrotError:
    """Return the one line for a start that failed, with the variables on which it depends: other programs set them too."""
    reason = " ".join(str(error).split())[:300]
    read = [f"{name}={os.environ[name]}" for name in sorted(os.environ) if name.startswith(("ACCELERATE_", "MASTER_"))]
    remedy = f"; correct or unset {'one of ' if read[1:] else ''}{' '.join(read)}" if read else ""
    return CodeparrotError(f"the processes cannot start: {reason}{remedy}")


def quiet_and_ready(accelerator: Any) -> None:
    """Prepare the process for the loop: silence libraries where the run reports itself, and keep freed memory."""
    from transformers.utils.logging import disable_progress_bar

    from codeparrot.model import hardware

    disable_progress_bar()
    # Lanes may keep several files open each, and a process may own hundreds of lanes; 1,024 is a common soft limit.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1 << 16 if hard == resource.RLIM_INFINITY else hard  # some systems name no limit and grant less
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if accelerator.device.type == "cpu":
        hardware.keep_freed_memory()


def _on_the_cpu() -> tuple[dict[str, Any], list[Any]]:
    """Return the Accelerator's arguments and handlers for the strategy that was launched, without a GPU.

    Accelerate only half supports DeepSpeed and FSDP on a CPU: DeepSpeed needs its back end named, and FSDP is only turned on
    when GPUs are found, so this claims that they were.
    """
    # Accelerate imports DeepSpeed wherever it is installed, and DeepSpeed would warn that it looked for a GPU.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    from accelerate.state import DistributedType, PartialState
    from accelerate.utils import InitProcessGroupKwargs

    if sharded() == "DeepSpeed":
        return {}, [InitProcessGroupKwargs(backend="gloo")]
    if sharded() == "FSDP":
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)  # type: ignore[method-assign]
        return {}, []
    return {"cpu": True}, []

"""The processes of a run: their number, checked against the number asked for, and how they share the model."""

import json
import logging
import os
import resource
import sys
import warnings
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.checks import check_world_size
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError, from_outside, how_to_install
from codeparrot.launcher import rank, sharded, world_size_asked
from codeparrot.text_files import read_text, repeated_key
from codeparrot.training.agreement import Agreement
from codeparrot.training.precision import Precision, settle

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


def start_processes(config: Config) -> Started:
    """Start the process group, assert its size, and settle the precision of the run.

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

    _check_precision(config.train.precision, has_accelerator)
    plugin = deepspeed_file()
    try:
        _join(config)
        on_cpu = of_the_cpu.get("cpu", False) or parse_flag_from_env("ACCELERATE_USE_CPU")
        state = PartialState(on_cpu, **_of_the_group(handlers))
    except (ValueError, RuntimeError) as error:
        raise from_outside(error) or _not_started(error) from error
    agreement = Agreement(state)
    precision = settle(config, state, agreement)
    _check_precision(precision.name, has_accelerator)
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
        _set_up_fsdp(accelerator)
    return Started(accelerator, config, agreement, precision)


def _check_precision(name: str, has_accelerator: bool) -> None:
    import torch

    if name == "fp16" and not has_accelerator:
        raise CodeparrotError("train.precision fp16 needs a GPU; use auto, bf16 or fp32 on a CPU")
    if name == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(False):
        raise CodeparrotError(f"{torch.cuda.get_device_name()} does not support train.precision bf16; use auto, fp16 or fp32")


def _of_the_group(handlers: list[Any]) -> dict[str, Any]:
    """Return those of the Accelerator's arguments that are for the process group."""
    return {name: value for handler in handlers for name, value in handler.to_kwargs().items()}


def longest_wait(config: Config) -> timedelta:
    """Return how long a collective waits before it gives up: longer than the watchdog, which names the process that hangs."""
    minutes = max(config.train.startup_minutes, config.train.timeout_minutes) + WATCHDOG_FIRST_MINUTES
    return timedelta(minutes=min(minutes, LONGEST_WAIT_MINUTES))


def _join(config: Config) -> None:
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
    if accelerator := torch.accelerator.current_accelerator(check_available=True):
        number = int(os.environ["LOCAL_RANK"]) % torch.accelerator.device_count()
        device, backend = torch.device(accelerator.type, number), dist.get_default_backend_for_device(accelerator)
        if os.environ.get("FSDP_OFFLOAD_PARAMS", "").lower() == "true":
            backend = f"{accelerator.type}:{backend},cpu:gloo"
    dist.init_process_group(backend, timeout=wait, device_id=device)


def _name_what_is_passed_over(config: Config, world_size: int) -> None:
    """Warn of a launch configuration that says something else than the recipe, which counts."""
    own = {"MIXED_PRECISION": config.train.precision, "GRADIENT_ACCUMULATION_STEPS": str(config.micro_batches(world_size))}
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


def strategy_of(accelerator: Any) -> str:
    """Return "deepspeed", "fsdp" or "replicated": where parameters and optimizer state live."""
    return {"DEEPSPEED": "deepspeed", "FSDP": "fsdp"}.get(accelerator.distributed_type.name, "replicated")


def strategy_name(accelerator: Any) -> str:
    """Return the strategy's name: one process, DDP, FSDP2, ZeRO-2."""
    if strategy_of(accelerator) == "deepspeed":
        return f"ZeRO-{accelerator.state.deepspeed_plugin.zero_stage}"
    if strategy_of(accelerator) == "fsdp":
        return "FSDP2"
    return "DDP" if accelerator.num_processes > 1 else "one process"


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
        # DeepSpeed compiles its CPU collectives at the first start, with the ninja that is installed beside Python.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {}, [InitProcessGroupKwargs(backend="gloo")]
    if sharded() == "FSDP":
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)  # type: ignore[method-assign]
        return {}, []
    return {"cpu": True}, []


def deepspeed_file() -> Any:
    """Return Accelerate's plugin with the settings of the DeepSpeed file that was launched with, or None without one.

    Accelerate would read the file itself, and neither a byte order mark nor what a key that stands twice loses.

    Raises:
        CodeparrotError: the file is not text or not JSON, or a key stands twice in it.
    """
    place = Path(os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", ""))
    if sharded() != "DeepSpeed" or not place.is_file():
        return None
    from accelerate.utils import DeepSpeedPlugin

    text = read_text(place)
    try:
        settings = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CodeparrotError(f"the DeepSpeed file {place} is not JSON: {error}") from error
    if repeated := repeated_key(text):
        name, first, second = repeated
        raise CodeparrotError(f'"{name}" stands twice in {place}, in lines {first} and {second}; remove one of them')
    if not isinstance(settings, dict) or "zero_optimization" not in settings:
        raise CodeparrotError(f'the DeepSpeed file {place} has no "zero_optimization"; launch/zero2.json shows one')
    return DeepSpeedPlugin(hf_ds_config=settings)


def _set_up_fsdp(accelerator: Any) -> None:
    """Gather weights in the type of the products and keep the rest in float32, as autocast does under DDP.

    Accelerate's own policy would make everything bfloat16: what runs from block to block, the loss, the sums of gradients.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if not accelerator.is_fsdp2:
        raise CodeparrotError("the launch configuration asks for FSDP1; set fsdp_version: 2, as launch/fsdp.yaml does")
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)
    if dtype is not None:
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False, output_dtype=torch.float32
        )


def finish_wrapping(accelerator: Any, model: Any, windows: int, length: int) -> None:
    """Do to a prepared model what Accelerate leaves undone. All processes call this before the first step.

    Args:
        accelerator: that prepared it.
        model: as prepared.
        windows, length: of a micro-batch.
    """
    if strategy_of(accelerator) == "fsdp":
        model.forward = accelerator.autocast()(model.forward)
        if accelerator.device.type == "cpu":
            _norm_in_the_type_of_the_input(model)
    elif accelerator.num_processes > 1 and strategy_of(accelerator) == "replicated":
        _settle_gradients(model, windows, length, accelerator.device)


def _norm_in_the_type_of_the_input(model: Any) -> None:
    """Have layer norms take float32 input with bfloat16 weights, as autocast has them do on a GPU; on a CPU it has not."""
    from torch.nn import LayerNorm
    from torch.nn.functional import layer_norm

    def forward(norm: LayerNorm, input: Any) -> Any:
        weight, bias = (None if each is None else each.to(input.dtype) for each in (norm.weight, norm.bias))
        return layer_norm(input, norm.normalized_shape, weight, bias, norm.eps)

    for module in model.modules():
        if isinstance(module, LayerNorm):
            module.forward = partial(forward, module)


def _settle_gradients(model: Any, windows: int, length: int, device: Any) -> None:
    """Give every gradient its place in DDP's buckets, by a backward pass whose gradients are dropped.

    DDP orders its buckets by the first backward pass, and among three processes and more the place decides in which order
    numbers are added: without this, the first step of a resumed run would differ in its last bits. For the same reason a hook
    divides the gradients: DDP itself divides by the number of processes or multiplies by its inverse, as it happens.
    """
    import torch
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    model.register_comm_hook(None, allreduce_hook)
    tokens = torch.zeros((windows, length), dtype=torch.int64, device=device)
    model(tokens, tokens).backward()
    model.zero_grad(set_to_none=True)


def gather_once_a_step(accelerator: Any, model: Any, last: bool) -> None:
    """Before a micro-batch: have FSDP2 keep its weights gathered until the `last` one of a step, if they may stay at all.

    They may with `fsdp_reshard_after_forward: false`. With true, no more than a block's weights are ever whole.
    """
    if strategy_of(accelerator) == "fsdp" and not accelerator.state.fsdp_plugin.reshard_after_forward:
        model.set_reshard_after_backward(last)


def set_up_deepspeed(plugin: Any, config: Config, world_size: int) -> None:
    """Give DeepSpeed the recipe's values. Its own file silently overrides Accelerate's arguments, so both must agree.

    Raises:
        CodeparrotError: the file contradicts the recipe, or asks for something that a run cannot be resumed with.
    """
    # DeepSpeed calls collectives by deprecated names, and torch would warn at every step.
    warnings.filterwarnings("ignore", "`torch.distributed", FutureWarning)
    settings = plugin.deepspeed_config
    if config.train.precision == "fp16":
        raise CodeparrotError("train.precision fp16 is not supported with DeepSpeed; use bf16, or launch/ddp.yaml or fsdp.yaml")
    for name in ("optimizer", "scheduler"):
        if name in settings:
            raise CodeparrotError(f'the DeepSpeed file sets "{name}", which is the recipe\'s ({name[:5]}...); remove it there')
    for name in ("offload_optimizer", "offload_param"):
        if settings.get("zero_optimization", {}).get(name, {}).get("device", "none") != "none":
            raise CodeparrotError(f"the DeepSpeed file asks for {name}, which is not supported; use a higher ZeRO stage")
    if settings.get("zero_optimization", {}).get("stage", 0) == 0:
        raise CodeparrotError("the DeepSpeed file asks for ZeRO stage 0, which is DDP; use launch/ddp.yaml, or stage 1, 2 or 3")
    stage = settings["zero_optimization"]["stage"]
    if stage == 3 and config.train.activation_checkpointing == "selective":
        # ZeRO-3 gathers weights inside of a layer, and not in the same order when the layer is computed again.
        raise CodeparrotError(
            "train.activation_checkpointing selective does not work with ZeRO-3; use full, or launch/fsdp.yaml"
        )
    if stage == 1 and config.train.precision == "bf16" and settings.get("data_types", {}).get("grad_accum_dtype") == "fp32":
        # DeepSpeed would then use another optimizer, BF16_Optimizer, with a different kind of state.
        raise CodeparrotError("the DeepSpeed file asks for ZeRO-1 with grad_accum_dtype fp32; use stage 2, or remove it there")
    values = {
        "train_micro_batch_size_per_gpu": config.train.micro_batch_size,
        "gradient_accumulation_steps": config.micro_batches(world_size),
        "train_batch_size": config.train.global_batch_size,
        "gradient_clipping": config.optim.clip_norm,
    }
    for name, value in values.items():
        found = settings.get(name, "auto")
        if found not in ("auto", value):
            raise CodeparrotError(f'the DeepSpeed file sets "{name}" to {found}, the recipe to {value}; write "auto" there')
        settings[name] = value

"""DeepSpeed's settings: its own file and the recipe must agree, because it would silently follow the file."""

import json
import os
import warnings
from itertools import accumulate
from pathlib import Path
from typing import Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.launcher import sharded
from codeparrot.text_files import read_text, repeated_key


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


def keep_to_gloo() -> None:
    """Keep DeepSpeed on a CPU to gloo's collectives, before it starts.

    Where it finds a compiler, it compiles its own at the first start, which takes minutes without a word.
    """
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


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


def exchanges_of(zero: Any, optimizer: Any, places: dict[int, int]) -> dict[int, Any]:
    """Return how the matrices of an optimizer's groups come whole from DeepSpeed's flat tensors, by the id of each.

    Args:
        zero: DeepSpeed's optimizer.
        optimizer: inside it; its groups say in `matrices` whether they need whole ones.
        places: of each parameter in its group, by its id, as the group was before DeepSpeed.
    """
    import torch.distributed as dist

    from codeparrot.optim.exchange import Flat, Inside, by_pieces, by_place

    found: dict[int, Flat] = {}
    if hasattr(zero, "fp32_partitioned_groups_flat"):
        group, world_size = zero.dp_process_group, dist.get_world_size(zero.dp_process_group)
        for number, flat in enumerate(zero.fp32_partitioned_groups_flat):
            if optimizer.param_groups[zero.sub_group_to_group_id[number]]["matrices"]:
                parameters = zero.fp16_groups[number]
                firsts = accumulate((each.partition_numel() for each in parameters), initial=0)
                matrices = [
                    Inside(places[id(each)], each.ds_shape, by_pieces(each.ds_shape, each.partition_numel(), world_size), first)
                    for each, first in zip(parameters, firsts, strict=False)
                ]
                found[id(flat)] = Flat(matrices, group)
        return found
    for number, flat in enumerate(zero.single_partition_of_fp32_groups):
        if optimizer.param_groups[number]["matrices"]:
            group, share = zero.real_dp_process_group[number], flat.numel()
            world_size, begin = dist.get_world_size(group), dist.get_rank(group) * share
            parameters, firsts = zero.round_robin_bit16_groups[number], zero.round_robin_bit16_offsets[number]
            matrices = [
                Inside(places[id(each)], each.shape, by_place(each.shape, first, share, world_size), max(0, first - begin))
                for each, first in zip(parameters, firsts, strict=True)
            ]
            found[id(flat)] = Flat(matrices, group)
    return found

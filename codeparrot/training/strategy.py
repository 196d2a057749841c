"""Where parameters and optimizer state live, and what DDP and FSDP2 need beyond what Accelerate gives them."""

from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.model.hardware import dtype_of


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


def set_up_fsdp(accelerator: Any) -> None:
    """Gather weights in the type of the products and keep the rest in float32, as autocast does under DDP.

    Accelerate's own policy would make everything bfloat16: what runs from block to block, the loss, the sums of gradients.
    """
    if not accelerator.is_fsdp2:
        raise CodeparrotError("the launch configuration asks for FSDP1; set fsdp_version: 2, as launch/fsdp.yaml does")
    if (policy := fsdp_types(accelerator.mixed_precision)) is not None:
        accelerator.state.fsdp_plugin.mixed_precision_policy = policy


def fsdp_types(precision: str) -> Any:
    """Return FSDP2's policy for a precision; None for fp32. `set_up_fsdp` says why it is not Accelerate's."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if precision not in ("bf16", "fp16"):  # Accelerate calls fp32 "no"
        return None
    return MixedPrecisionPolicy(
        param_dtype=dtype_of(precision), reduce_dtype=torch.float32, cast_forward_inputs=False, output_dtype=torch.float32
    )


def finish_wrapping(accelerator: Any, model: Any, windows: int, lengths: tuple[int, int]) -> None:
    """Do to a prepared model what Accelerate leaves undone. All processes call this before the first step.

    Args:
        accelerator: that prepared it.
        model: as prepared.
        windows: of a micro-batch.
        lengths: tokens of a window that the model reads, and that it predicts from.
    """
    if strategy_of(accelerator) == "fsdp":
        model.forward = accelerator.autocast()(model.forward)
        if accelerator.device.type == "cpu":
            norm_in_the_type_of_the_input(model)
    elif accelerator.num_processes > 1 and strategy_of(accelerator) == "replicated":
        _settle_gradients(model, windows, lengths, accelerator.device)


def norm_in_the_type_of_the_input(model: Any) -> None:
    """Have layer norms take float32 input with bfloat16 weights, as autocast has them do on a GPU; on a CPU it has not."""
    from torch.nn import LayerNorm
    from torch.nn.functional import layer_norm

    class Norm(LayerNorm):
        def forward(self, input: Any) -> Any:
            weight, bias = (None if each is None else each.to(input.dtype) for each in (self.weight, self.bias))
            return layer_norm(input, self.normalized_shape, weight, bias, self.eps)

    for module in model.modules():
        if type(module) is LayerNorm:
            module.__class__ = Norm


def _settle_gradients(model: Any, windows: int, lengths: tuple[int, int], device: Any) -> None:
    """Give every gradient its place in DDP's buckets, by a backward pass whose gradients are dropped.

    DDP orders its buckets by the first backward pass, and among three processes and more the place decides in which order
    numbers are added: without this, the first step of a resumed run would differ in its last bits. For the same reason a hook
    divides the gradients: DDP itself divides by the number of processes or multiplies by its inverse, as it happens.
    """
    import torch
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    model.register_comm_hook(None, allreduce_hook)
    input_ids, labels = (torch.zeros((windows, length), dtype=torch.int64, device=device) for length in lengths)
    model(input_ids, labels).backward()
    model.zero_grad(set_to_none=True)


def accumulate_over(accelerator: Any, model: Any, count: int) -> None:
    """Before a step: have it consist of so many micro-batches, where the one before had another number."""
    if accelerator.gradient_accumulation_steps == count:
        return
    accelerator.gradient_accumulation_steps = count
    accelerator.step = 0  # it counts micro-batches, and takes the last of every `count` for the end of a step
    if strategy_of(accelerator) == "deepspeed":
        model.set_train_batch_size(count * model.train_micro_batch_size_per_gpu() * accelerator.num_processes)


def gather_once_a_step(accelerator: Any, model: Any, last: bool) -> None:
    """Before a micro-batch: have FSDP2 keep its weights gathered until the `last` one of a step, if they may stay at all.

    They may with `fsdp_reshard_after_forward: false`. With true, no more than a block's weights are ever whole.
    """
    if strategy_of(accelerator) == "fsdp" and not accelerator.state.fsdp_plugin.reshard_after_forward:
        model.set_reshard_after_backward(last)

"""A training step of the real model on fake tensors: what it holds, phase by phase, without its memory or its arithmetic.

The model, its loss, its optimizer and FSDP2's wrapping are those of a run, so the figures follow the code. Four layers cost
about a second. Memory in each phase is a straight line over the layers, from the third on: deeper models are extrapolated from
three and four (a test compares this with a whole model).
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._pytree import tree_map_only
from transformers.initialization import no_init_weights

from codeparrot.config import Config
from codeparrot.model import cpu_attention, loss
from codeparrot.model.blocks import checkpoint
from codeparrot.model.families import WRAPPERS, _new_model, num_parameters
from codeparrot.model.hardware import dtype_of
from codeparrot.model.kinds import kind_of
from codeparrot.model.masked_model import MaskedHead
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import head_share, lengths_of
from codeparrot.optim import load_optimizer
from codeparrot.optim.optimizer import new_state
from codeparrot.plan.blocks import blocks, cast, with_layers
from codeparrot.plan.compiled import bytes_a_token, is_compiled
from codeparrot.plan.ledger import ACTIVATIONS, GRADIENTS, LOGITS, OPTIMIZER, PARAMETERS, Bytes, Ledger
from codeparrot.training.strategy import fsdp_types, norm_in_the_type_of_the_input

Style = Literal["autocast", "fsdp", "cast"]
"""How weights get the type of the computation: autocast casts each for its product (one process, DDP), FSDP2 gathers them in
it, DeepSpeed keeps them in it."""
SHALLOW, DEEPER = 3, 4
"""Layers of the models that are traced."""
FAKE_RANKS = "fake"
"""torch's process group without processes: its collectives return at once."""


@dataclass(frozen=True)
class Step:
    """What a step of one process depends on."""

    style: Style
    micro_batch: int
    """Windows."""
    micro_batches: int
    world_size: int = 1
    """Only FSDP2's step depends on it."""
    compiled: bool = True
    """Whether the strategy can have compiled layers."""


class Tracer:
    """Traces steps of a configuration, and remembers them.

    Args:
        config: of the run.
        settings: the transformers config of its model.
        on_gpu: whether the run is on GPUs: the loss then takes larger chunks.
    """

    def __init__(self, config: Config, settings: Any, on_gpu: bool) -> None:
        self._config, self._settings, self.on_gpu = config, settings, on_gpu
        self._known: dict[tuple[Step, int], dict[str, Bytes]] = {}
        # What compiling saves in an encoder-decoder is not known: its layers are of two sorts.
        compiled = is_compiled(config, on_gpu) and kind_of(settings) != "encoder-decoder"
        self._compiled = compiled and config.train.activation_checkpointing == "none"
        self._compiled_bytes: dict[bool, float] = {}
        """What a compiled layer keeps for a token, with autocast and without."""
        self._layers = int(settings.get_text_config().num_hidden_layers)
        self.extrapolated = self._layers > DEEPER and self._is_even()
        """Whether figures are of shallower models, extrapolated."""

    def phases(self, step: Step) -> dict[str, Bytes]:
        """Return what is held at the peak of each phase of a step, in bytes by category."""
        compiled = self._compiled and step.compiled
        # A third micro-batch is as the second.
        step = Step(step.style, step.micro_batch, min(step.micro_batches, 2), step.world_size if step.style == "fsdp" else 1)
        low, high = (SHALLOW, DEEPER) if self.extrapolated else (self._layers - 1, self._layers)
        deeper = self._traced(step, high)
        if not low or not (self.extrapolated or compiled):
            return deeper
        shallow = self._traced(step, low)
        held = {phase: line(shallow[phase], deeper[phase], self._layers - low) for phase in deeper if phase in shallow}
        return self._as_compiled(held, shallow, deeper, step) if compiled else held

    def _as_compiled(
        self, held: dict[str, Bytes], shallow: dict[str, Bytes], deeper: dict[str, Bytes], step: Step
    ) -> dict[str, Bytes]:
        """Return the phases with as much less for each layer as compiling it saves. What it holds in passing stays."""
        autocast = step.style != "cast"
        if autocast not in self._compiled_bytes:
            dtype = dtype_of(self._config.train.precision)
            self._compiled_bytes[autocast] = bytes_a_token(self._settings, dtype, autocast)
        saved = self._compiled_bytes[autocast] * step.micro_batch * self._config.stream.seq_length
        whole = deeper["last: loss"][ACTIVATIONS] - shallow["last: loss"][ACTIVATIONS]
        less = {phase: max(0, deeper[phase][ACTIVATIONS] - shallow[phase][ACTIVATIONS]) * (1 - saved / whole) for phase in held}
        return {
            phase: each | {ACTIVATIONS: each[ACTIVATIONS] - self._layers * max(0, less[phase])} for phase, each in held.items()
        }

    def _traced(self, step: Step, layers: int) -> dict[str, Bytes]:
        if (step, layers) not in self._known:
            self._known[step, layers] = trace(self._config, with_layers(self._settings, layers), step, self.on_gpu)
        return self._known[step, layers]

    def _is_even(self) -> bool:
        """Whether all layers are alike, as far as their parameters show."""
        try:
            shallow, deeper = (num_parameters(with_layers(self._settings, layers)) for layers in (SHALLOW, DEEPER))
        except (ValueError, TypeError, IndexError, KeyError, RuntimeError):
            return False  # a family whose lists of layers are of another kind: it is traced whole
        return shallow + (self._layers - SHALLOW) * (deeper - shallow) == num_parameters(self._settings)


def line(low: Bytes, high: Bytes, steps: float) -> Bytes:
    """Return the bytes that are `steps` steps from `low` towards and beyond `high`; none is negative."""
    return {name: max(0, low[name] + steps * (high[name] - low[name])) for name in low}


def trace(config: Config, settings: Any, step: Step, on_gpu: bool) -> dict[str, Bytes]:
    """Run one step on fake tensors as the loop does, and return what is held at the peak of each phase."""
    dtype = dtype_of(config.train.precision)
    with ExitStack() as stack:
        mesh = stack.enter_context(_fake_processes(step.world_size)) if step.style == "fsdp" else None
        if on_gpu:
            stack.enter_context(mock.patch.object(loss, "_CHUNK_BYTES_CPU", loss._CHUNK_BYTES_ACCELERATOR))
            stack.enter_context(mock.patch.object(loss, "_CHUNK_ROWS_CPU", sys.maxsize))
            stack.enter_context(mock.patch.object(cpu_attention, "_BF16", False))
            stack.enter_context(autocast_of_cuda())
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        ledger = stack.enter_context(Ledger())
        with ledger.within(PARAMETERS):
            model = _model(config, settings, step.micro_batch, on_gpu)
            if step.style == "cast":
                cast(model, dtype)
            model = _sharded(model, config.train.precision, mesh) if mesh is not None else model
        _mark(model, ledger)
        with ledger.within(OPTIMIZER):
            kind = load_optimizer(config.optimizer_settings())
            optimizer = kind.build(model, config.optimizer_settings())
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    optimizer.state[parameter] |= new_state(kind.moments(group), parameter)
        lengths = lengths_of(load_objective(config.objective), config.stream.seq_length)
        windows, labels = (torch.zeros((step.micro_batch, length), dtype=torch.long) for length in lengths)
        for number in range(step.micro_batches):
            last = number == step.micro_batches - 1
            prefix = "last" if last else "first"
            ledger.phase = f"{prefix}: forward"
            autocast = torch.autocast("cpu", dtype, enabled=step.style != "cast" and dtype != torch.float32)
            with autocast:
                micro_loss = model(windows, labels)
            began = ledger.now
            ledger.phase = f"{prefix}: backward of the head"
            micro_loss.backward()
            ledger.call_what_lives(GRADIENTS, began)
        # The first time, DTensor finds out how to split each operation by running it on whole tensors.
        for ledger.phase in ("", "update"):
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm or float("inf"))
            if step.style != "cast":  # DeepSpeed's optimizer works on its own copies
                optimizer.step()
        return {phase: held for phase, held in ledger.peaks().items() if phase}


FLOAT32 = (
    "pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar layer_norm group_norm softmax.int log_softmax.int exp log log1p log2 rsqrt "
    "reciprocal softplus cumsum prod sum sum.dim_IntList"
).split()
"""Of the list in torch's documentation of torch.amp (CUDA ops that autocast to float32), those that a model may call."""


@contextmanager
def autocast_of_cuda() -> Iterator[None]:
    """Have autocast for the CPU give float32 to the operations that autocast for CUDA gives it to.

    Fake tensors of a GPU have no backward pass where there is none, so those of a CPU stand for them. On a CPU autocast
    computes powers and norms in 16 bits; on a GPU their inputs and results, which are saved, take twice as much.
    """
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a kernel is replaced, which is meant
        for name in FLOAT32:
            library.impl(name, _float32_kernel(name), "AutocastCPU", allow_override=True)
    try:
        yield
    finally:
        library._destroy()


def _float32_kernel(name: str) -> Callable[..., Any]:
    operation, _, overload = name.partition(".")
    function = getattr(getattr(torch.ops.aten, operation), overload or "default")

    def kernel(*args: Any, **options: Any) -> Any:
        args, options = tree_map_only(torch.Tensor, _in_float32, (args, options))
        with torch.autocast("cpu", enabled=False):
            return function(*args, **options)

    return kernel


def _in_float32(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _model(config: Config, settings: Any, micro_batch: int, on_gpu: bool) -> Any:
    """Return the model of a run with fake weights, as `build_model` makes it with real ones."""
    with no_init_weights():  # some families draw weights by what was drawn, which fake numbers do not tell
        model = _new_model(settings)
    model.tie_weights()
    language_model = WRAPPERS[kind_of(settings)](model, own_loss=_own_loss(settings)).train()
    head = model.get_output_embeddings()
    if isinstance(head, MaskedHead):
        # Which tokens are hidden is in no fake tensor, but how many are is known.
        head.most_rows = round(head_share(load_objective(config.objective)) * micro_batch * config.stream.seq_length)
    flash = on_gpu and language_model.way == "gpt2" and config.train.precision in ("bf16", "fp16")
    if config.stream.document_mask and not flash:
        language_model.end_of_document = 0  # a mask of length x length numbers; flash attention takes none
    checkpoint(model, config.train.activation_checkpointing)
    return language_model


def _own_loss(settings: Any) -> bool:
    """Find out as a run does whether the family uses a loss of its own, on a model of one layer and few tokens."""
    if settings.model_type == "gpt2":
        return False
    small = with_layers(settings, 1)
    text = small.get_text_config()
    text.vocab_size = 64
    text.pad_token_id = None if getattr(text, "pad_token_id", None) is None else 1
    with unset_fake_temporarily():
        return WRAPPERS[kind_of(small)](_new_model(small)).own_loss


def _mark(model: Any, ledger: Ledger) -> None:
    """Have the ledger know the phases: the loss, and the backward pass through the last layer, those between, the first."""
    language_model = model.model
    head = language_model.get_output_embeddings()

    def enter(*_: Any) -> None:
        ledger.category = LOGITS
        ledger.phase = ledger.phase.replace("forward", "loss")

    def leave(*_: Any) -> None:
        ledger.category = "activations"

    head.register_forward_pre_hook(enter)
    head.register_forward_hook(leave)
    layers = blocks(language_model, language_model.config)
    marks: list[tuple[int, str]] = [(len(layers) - 1, "last layer"), (len(layers) - 2, "layers"), (0, "first layer")]
    for index, name in marks[: len(layers)]:
        layers[index].register_forward_hook(lambda _module, _inputs, output, name=name: begins_with(output, name))
    if layers:
        layers[0].register_forward_pre_hook(lambda _module, inputs: begins_with(inputs, "embeddings"))

    def begins_with(hidden: Any, name: str) -> None:
        """The gradient of this tensor is the first of the named part of the backward pass."""

        def begin(_: Any) -> None:
            ledger.phase = f"{ledger.phase.partition(':')[0]}: backward of the {name}"

        first = hidden[0] if isinstance(hidden, tuple) else hidden
        if first.requires_grad:
            first.register_hook(begin)


@contextmanager
def _fake_processes(world_size: int) -> Iterator[Any]:
    """Make torch believe that it is the first of several processes, and return their mesh."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group(FAKE_RANKS, rank=0, world_size=world_size, store=FakeStore())
    try:
        yield init_device_mesh("cpu", (world_size,))
    finally:
        dist.destroy_process_group()


def _sharded(model: Any, precision: str, mesh: Any) -> Any:
    """Shard a model as Accelerate does for launch/fsdp.yaml, with the types of `training.strategy`."""
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=True,
        auto_wrap_policy="transformer_based_wrap",
        mixed_precision_policy=fsdp_types(precision),
        cpu_ram_efficient_loading=False,
    )
    accelerator = SimpleNamespace(
        state=SimpleNamespace(fsdp_plugin=plugin),
        torch_device_mesh={("processes",): mesh},
        parallelism_config=SimpleNamespace(fsdp_dim_names=("processes",)),
        mixed_precision="no",  # only for a warning: the weights are float32 already
        is_main_process=True,
        device=torch.device("cpu"),
    )
    model = fsdp2_prepare_model(accelerator, model)
    norm_in_the_type_of_the_input(model)
    return model

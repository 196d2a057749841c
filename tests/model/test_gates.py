"""What makes a training step fast on a GPU, as far as it shows without one: in what is called, compiled and kept.

The back end of the compiler is replaced by AOT autograd with the partitioner that CUDA gets: graphs are real, and nothing is
built.
"""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from codeparrot.config import Config
from codeparrot.model import cpu_attention
from codeparrot.model.blocks import compile_blocks
from codeparrot.model.families import build_model, model_config
from codeparrot.model.language_model import LanguageModel
from codeparrot.optim import load_optimizer
from codeparrot.train import _step
from codeparrot.training.health import Health
from codeparrot.training.parts import Compiling, Training

WIDTH, LENGTH, WINDOWS = 256, 96, 2
SIZES = {"vocab_size": 97, "hidden_size": WIDTH, "num_attention_heads": 4, "num_hidden_layers": 3}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
GPT2 = {"family": "gpt2", **SIZES, **NO_DROPOUT, "n_positions": LENGTH}
MIDDLE = {**SIZES, "max_position_embeddings": LENGTH, "intermediate_size": 704, "num_key_value_heads": 2}
FAMILIES = {"gpt2": GPT2, "llama": {"family": "llama", **MIDDLE}, "qwen2": {"family": "qwen2", **MIDDLE}}
SLIDING = {"mistral": {"family": "mistral", **MIDDLE, "sliding_window": 8}}
CHECKPOINTING: tuple[Any, ...] = ("none", "selective", "full")


def build(settings: dict[str, Any], **options: Any) -> LanguageModel:
    return build_model(model_config(settings), seed=0, **options)


def windows(count: int = WINDOWS, length: int = LENGTH) -> Tensor:
    return torch.randint(97, (count, length), generator=torch.Generator().manual_seed(0))


class _Attention(TorchFunctionMode):
    """Notes the arguments of every call of SDPA."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Any]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is nn.functional.scaled_dot_product_attention:
            self.calls.append(kwargs or {})
        return function(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    """Notes the operations that reach the device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def of_layers(graphs: list[Any]) -> list[Any]:
    """Return the graphs with attention in them; the pointwise part of the loss is compiled as well, as one."""
    inside = {graph: [each.code for each in graph.modules() if isinstance(each, torch.fx.GraphModule)] for graph in graphs}
    return [graph for graph, codes in inside.items() if any("scaled_dot_product_attention" in code for code in codes)]


def _as_it_is(graph: Any, inputs: Any) -> Any:
    return graph


@contextmanager
def compiling(graphs: list[Any], build: Callable[[Any, Any], Any] = _as_it_is) -> Iterator[None]:
    """Compile, have `build` build the forward and the backward part of each graph, and note each graph."""
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._inductor.decomposition import select_decomp_table

    aot: Callable[..., Any] = aot_autograd(
        fw_compiler=build,
        bw_compiler=build,
        partition_fn=functools.partial(min_cut_rematerialization_partition, compiler="inductor"),
        decompositions=select_decomp_table(),
    )

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return aot(graph, inputs)

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch.compiler.set_stance("default", force_backend=backend):
        yield
    torch._dynamo.reset()


@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
def test_no_mask_reaches_the_attention_of_a_training_step(settings) -> None:
    model = build(settings)
    with _Attention() as attention:
        model(windows(), windows()).backward()
    assert len(attention.calls) == 3
    assert all(call.get("attn_mask") is None and call["is_causal"] is True for call in attention.calls)


@pytest.mark.parametrize("settings", SLIDING.values(), ids=SLIDING)
def test_a_sliding_window_keeps_its_mask_and_the_log_says_so(settings, caplog) -> None:
    """Its hidden states on short windows are those of a family without one: it must be told by what it asks for."""
    with caplog.at_level(logging.INFO, logger="codeparrot"):
        model = build(settings)
    assert model.way == "transformers"
    assert caplog.text.count("mistral runs transformers' forward pass") == 1
    with _Attention() as attention:
        loss = model(windows(), windows())
    assert all(isinstance(call["attn_mask"], Tensor) for call in attention.calls)
    torch.testing.assert_close(loss, model.model(windows(), labels=windows()).loss, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_without_masks_loss_and_gradients_are_the_familys_own(name) -> None:
    model = build(FAMILIES[name])
    assert model.way == "without masks"
    found, right = model(windows(), windows()), model.model(windows(), labels=windows()).loss
    torch.testing.assert_close(found, right, rtol=1e-5, atol=0)
    parameters = list(model.parameters())
    ours, theirs = (torch.autograd.grad(loss, parameters) for loss in (found, right))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_padding_on_the_left_still_counts_in_generation(name) -> None:
    """Training without masks leaves nothing behind."""
    model = build(FAMILIES[name])
    model(windows(), windows()).backward()
    whole: Any = model.model.eval()
    prompt, options = windows(1, 5), {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), prompt], dim=1)
    mask = torch.cat([torch.zeros(1, 3, dtype=torch.long), torch.ones_like(prompt)], dim=1)
    alone = whole.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    assert torch.equal(whole.generate(padded, attention_mask=mask, **options)[0, 3:], alone[0])


WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero", "aten.masked_select", "aten.unique")


@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("checkpointing", CHECKPOINTING)
def test_a_step_that_is_not_logged_never_waits_for_the_device(settings, checkpointing) -> None:
    """Forward, backward, clipping, the decision about the update and the update, of two micro-batches."""
    config = Config()
    model = build(settings, activation_checkpointing=checkpointing)
    kind = load_optimizer({"name": "adamw"})
    optimizer = kind.build(model, vars(config.optim))
    accelerator = SimpleNamespace(
        distributed_type=SimpleNamespace(name="NO"),
        device=torch.device("cpu"),
        process_index=0,
        gradient_accumulation_steps=2,
        sync_gradients=True,
        scaler=None,
        accumulate=lambda _: nullcontext(),
        backward=lambda loss: loss.backward(),
        clip_grad_norm_=nn.utils.clip_grad_norm_,
    )
    training: Any = SimpleNamespace(
        config=config,
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        micro_batches=lambda _: 2,
        uneven=None,
        health=Health(config.train, accelerator, optimizer, kind),
        examples=lambda batch, *_: batch,
        to_device=lambda batch: (batch, batch),
        kernels=nullcontext,
        gradients_stay=False,
    )
    monitor = SimpleNamespace(waiting_for_data=nullcontext)
    _step(training, iter([windows(), windows()]), 0, monitor)  # the first one makes the optimizer's state
    with _Operations() as operations:
        _step(training, iter([windows(), windows()]), 1, monitor)
    assert len(operations.names) > 100
    assert [name for name in operations.names if name.startswith(WAITS)] == []


def test_the_gate_above_would_see_what_waits() -> None:
    with _Operations() as operations:
        assert torch.ones(2).sum().item() == 2
        assert bool((torch.zeros(2) == 0).all())
    assert sum(name.startswith(WAITS) for name in operations.names) == 2


def test_a_layer_runs_a_quarter_fewer_operations_than_transformers(monkeypatch) -> None:
    """In eager mode, each that is not a view is a kernel on a GPU."""
    monkeypatch.setattr(cpu_attention, "_BF16", False)  # it is a GPU's way that counts

    def operations(way: Any, layers: int) -> int:
        model = build({**GPT2, "num_hidden_layers": layers})
        model.way = way
        with torch.autocast("cpu", torch.bfloat16), _Operations() as found:
            model(windows(), windows()).backward()
        views = ("aten.view", "aten.t.", "aten.transpose", "aten.split", "aten.detach", "aten._unsafe_view", "aten.expand")
        return sum(not name.startswith(views) for name in found.names)

    ours, theirs = (operations(way, 2) - operations(way, 1) for way in ("gpt2", "transformers"))
    assert ours <= 51 and ours <= 0.75 * theirs


class _Scheduled(Exception):
    """Raised once inductor has fused the operations; nothing is built."""


@pytest.mark.slow
def test_a_compiled_layer_runs_no_more_kernels_than_that_of_transformers() -> None:
    """Besides products and attention, which are calls of libraries."""

    def kernels(way: Any) -> list[int]:
        counts: list[int] = []

        def count(nodes: Any) -> Any:
            counts.append(sum(not node.is_extern() and not isinstance(node, NopKernelSchedulerNode) for node in nodes))
            raise _Scheduled

        def schedule(graph: Any, inputs: Any) -> Any:
            watched = torch._inductor.config.patch(_post_fusion_custom_pass=count, fx_graph_cache=False)
            with watched, pytest.raises(Exception, match="_Scheduled"):
                compile_fx_inner(graph, inputs)
            return graph

        model = build({**GPT2, "num_hidden_layers": 1})
        model.way = way
        with compiling([], schedule), torch.autocast("cpu", torch.bfloat16):
            compile_blocks(model.model, whole=True)
            hidden = model.hidden_states(windows())
        hidden.sum().backward()
        return counts

    import torch._inductor.config
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.scheduler import NopKernelSchedulerNode

    ours, theirs = kernels("gpt2"), kernels("transformers")
    assert len(ours) == len(theirs) == 2  # forward and backward
    assert all(count <= most for count, most in zip(ours, theirs, strict=True))
    assert sum(ours) <= 30


@pytest.mark.slow
@pytest.mark.parametrize("settings", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("checkpointing", CHECKPOINTING)
def test_one_graph_without_a_break_serves_all_layers_and_changes_nothing(settings, checkpointing) -> None:
    plain = build(settings)
    plain(windows(), windows()).backward()
    graphs: list[Any] = []
    with compiling(graphs):
        model = build(settings, activation_checkpointing=checkpointing, compile=True)
        loss = model(windows(), windows())
        loss.backward()
        model(windows(), windows()).backward()
        assert len(of_layers(graphs)) == 1 and len(graphs) == 2
        assert not torch._dynamo.utils.counters["graph_break"]
    torch.testing.assert_close(loss, plain(windows(), windows()), rtol=1e-5, atol=0)
    gradients = {name: parameter.grad / 2 for name, parameter in model.named_parameters() if parameter.grad is not None}
    right = {name: parameter.grad for name, parameter in plain.named_parameters()}
    torch.testing.assert_close(gradients, right, rtol=1e-4, atol=1e-6)
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    "options",
    [{"scale_attn_by_inverse_layer_idx": True}, {"resid_pdrop": 0.1, "attn_pdrop": 0.1}],
    ids=["scale by layer", "dropout"],
)
def test_one_graph_serves_layers_that_differ(options) -> None:
    graphs: list[Any] = []
    with compiling(graphs):
        model = build({**GPT2, **options}, compile=True, activation_checkpointing="selective")
        model(windows(), windows()).backward()
        assert len(of_layers(graphs)) == 1 and len(graphs) == 2


def test_dropout_computed_again_has_the_masks_of_the_first_time() -> None:
    """Compiled and not, in both kinds of checkpointing: otherwise gradients would belong to another loss."""
    settings = {**GPT2, "resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3}

    def gradients(checkpointing: Any) -> list[Any]:
        model = build(settings, activation_checkpointing=checkpointing)
        torch.manual_seed(5)
        model(windows(), windows()).backward()
        return [parameter.grad for parameter in model.parameters()]

    for checkpointing in CHECKPOINTING[1:]:
        torch.testing.assert_close(gradients(checkpointing), gradients("none"), rtol=1e-5, atol=1e-7)


def test_an_evaluation_of_another_batch_size_compiles_nothing() -> None:
    graphs: list[Any] = []
    uncompiled = functools.partial(Training.uncompiled, SimpleNamespace(compiling=Compiling(True, "")))  # type: ignore[arg-type]
    with compiling(graphs):
        model = build(GPT2, compile=True)
        model(windows(), windows()).backward()
        with uncompiled(), torch.no_grad():
            for count in (1, 3, 5):
                model.eval()(windows(count), windows(count), "sum")
            whole: Any = model.model
            whole.generate(windows(1, 4), max_new_tokens=3, pad_token_id=0)
        model.train()(windows(), windows()).backward()
        assert len(of_layers(graphs)) == 1 and len(graphs) == 2


KEPT = {"gpt2": {"none": 34, "selective": 22, "full": 4}, "llama": {"none": 34, "selective": 24, "full": 5}}
"""Bytes that a layer keeps of a token until the backward pass, as multiples of the width: GPT-2's are in the setting's help."""


@pytest.mark.parametrize("checkpointing", CHECKPOINTING)
@pytest.mark.parametrize("family", [pytest.param("llama", marks=pytest.mark.slow), "gpt2"])
def test_a_compiled_layer_keeps_few_bytes_a_token(family, checkpointing) -> None:
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if any(size in tensor.shape for size in (WINDOWS * LENGTH, LENGTH)):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    layers = 8
    with compiling([]):
        model = build({**FAMILIES[family], "num_hidden_layers": layers}, activation_checkpointing=checkpointing, compile=True)
        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with torch.autocast("cpu", torch.bfloat16), hooks:
            hidden = model.hidden_states(windows())  # noqa: F841 - it keeps the tensors alive
    kept = sum(storages.values()) / (WINDOWS * LENGTH * WIDTH * layers)
    assert kept == pytest.approx(KEPT[family][checkpointing], abs=1.5)
    assert kept <= 36

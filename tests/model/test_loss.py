"""The chunked loss equals the plain one, in value and gradients, without ever holding all logits."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from codeparrot.model import IGNORED
from codeparrot.model.loss import (
    LossHead,
    _chunk_rows,
    cross_entropies,
    cross_entropy_sum,
    losses_and_gradients,
    next_token_labels,
    num_predicted,
)

PRODUCTS = (torch.ops.aten.mm.out, torch.ops.aten.addmm_.default)


def problem(rows: int, width: int, vocabulary: int, seed: int = 0, bias: bool = True) -> tuple[Tensor, Tensor, Any, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, width, generator=draw).requires_grad_()
    weight = torch.randn(vocabulary, width, generator=draw).requires_grad_()
    labels = torch.randint(vocabulary, (rows,), generator=draw)
    return hidden, weight, torch.randn(vocabulary, generator=draw).requires_grad_() if bias else None, labels


def reference(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """Transformers' way: the logits in the product's type, then all of them in float32."""
    logits = nn.functional.linear(hidden, weight, bias).float()
    return nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED)


def gradients(loss: Tensor, *tensors: Tensor | None) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [tensor for tensor in tensors if tensor is not None]))


class Recorder(TorchDispatchMode):
    """Records every tensor that is made, and the types of every matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.product_dtypes, self.names = 0, [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.add(str(func))
        for made in result if isinstance(result, tuple | list) else (result,):
            self.largest = max(self.largest, made.numel() if isinstance(made, Tensor) else 0)
        if func in PRODUCTS:
            matrices = [argument for argument in args if isinstance(argument, Tensor) and argument.dim() == 2]
            self.product_dtypes.append(tuple(matrix.dtype for matrix in matrices[-2:]))
        return result


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 33),
    width=st.integers(1, 9),
    vocabulary=st.integers(1, 40),
    chunk_rows=st.integers(1, 40),
    bias=st.booleans(),
    ignored=st.sets(st.integers(0, 32)),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_loss_and_gradients_equal_the_unchunked_ones(rows, width, vocabulary, chunk_rows, bias, ignored, scale, seed):
    hidden, weight, biases, labels = problem(rows, width, vocabulary, seed, bias)
    labels[[row for row in ignored if row < rows]] = IGNORED
    with torch.no_grad():
        weight.mul_(scale)
    loss, expected = cross_entropy_sum(hidden, weight, biases, labels, chunk_rows), reference(hidden, weight, biases, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    found, right = gradients(loss, hidden, weight, biases), gradients(expected, hidden, weight, biases)
    wide: list[Any] = [None if each is None else each.detach().double().requires_grad_() for each in (hidden, weight, biases)]
    logits = nn.functional.linear(wide[0], wide[1], wide[2])
    exact = gradients(nn.functional.cross_entropy(logits, labels, reduction="sum", ignore_index=IGNORED), *wide)

    def off(values: list[Tensor]) -> float:
        """Return the largest error, where 1 is 1e-5 of the value and of the scale."""
        pairs = zip(values, exact, strict=True)
        return max(float(((value - true).abs() / (1e-5 * true.abs() + 1e-5 * max(scale, 1))).max()) for value, true in pairs)

    # Large logits are rounded so much in float32 that the plain gradients, too, may be off by more.
    assert off(found) <= max(1, 2 * off(right))


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 17), vocabulary=st.integers(2, 40), bias=st.booleans(), weight=st.sampled_from([1e-4, 0.1]))
def test_the_z_loss_is_in_the_gradients_and_not_in_the_value(rows, vocabulary, bias, weight):
    hidden, matrix, biases, labels = problem(rows, 5, vocabulary, bias=bias)
    labels[::3] = IGNORED
    plain = cross_entropy_sum(hidden, matrix, biases, labels, chunk_rows=4)
    loss = cross_entropy_sum(hidden, matrix, biases, labels, chunk_rows=4, z_loss=weight)
    assert torch.equal(plain, loss)
    logits = nn.functional.linear(hidden, matrix, biases)
    z = (logits.logsumexp(1).square() * labels.ne(IGNORED)).sum()
    expected = gradients(reference(hidden, matrix, biases, labels) + weight * z, hidden, matrix, biases)
    for found, right in zip(gradients(loss, hidden, matrix, biases), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)
    _, of_logits, _ = losses_and_gradients(logits.detach(), None, labels, False, weight)
    wide = logits.detach().requires_grad_()
    total = nn.functional.cross_entropy(wide, labels, reduction="sum", ignore_index=IGNORED)
    total = total + weight * (wide.logsumexp(1).square() * labels.ne(IGNORED)).sum()
    torch.testing.assert_close(of_logits, gradients(total, wide)[0], rtol=1e-5, atol=1e-5)


def test_leading_dimensions_are_rows():
    hidden, weight, bias, labels = problem(12, 5, 7)
    loss = cross_entropy_sum(hidden.view(3, 4, 5), weight, bias, labels.view(3, 4))
    torch.testing.assert_close(loss, reference(hidden, weight, bias, labels), rtol=1e-5, atol=0)


def test_nothing_to_predict_is_zero_with_zero_gradients():
    hidden, weight, bias, labels = problem(6, 5, 7)
    loss = cross_entropy_sum(hidden, weight, bias, labels.fill_(IGNORED), chunk_rows=4)
    assert loss.item() == 0
    assert all(gradient.count_nonzero() == 0 for gradient in gradients(loss, hidden, weight, bias))


def test_logits_of_more_than_one_chunk_never_exist():
    hidden, weight, bias, labels = problem(64, 4, 512)
    with Recorder() as record:
        cross_entropy_sum(hidden, weight, bias, labels, chunk_rows=8).backward()
    assert record.largest == 8 * 512


def test_evaluation_computes_no_gradients():
    hidden, weight, bias, labels = problem(64, 4, 512)
    with torch.no_grad(), Recorder() as record:
        loss = cross_entropy_sum(hidden, weight, bias, labels, chunk_rows=16)
    assert not loss.requires_grad
    assert len(record.product_dtypes) == 4
    # The pass over the logits that makes them gradients is not taken either.
    assert "aten.exp_.default" in record.names and not {name for name in record.names if "scatter" in name or ".mul_" in name}


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, _, labels = problem(8, 4, 6, bias=False)
    frozen = weight.detach()
    found = gradients(cross_entropy_sum(hidden, frozen, None, labels), hidden)
    torch.testing.assert_close(found, gradients(reference(hidden, frozen, None, labels), hidden), rtol=1e-5, atol=1e-6)


def test_under_autocast_products_run_in_bfloat16_and_the_rest_in_float32():
    hidden, weight, _, labels = problem(96, 16, 64, bias=False)
    with Recorder() as record, torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy_sum(hidden, weight, None, labels, chunk_rows=32)
    found = gradients(loss, hidden, weight)
    with torch.autocast("cpu", torch.bfloat16):
        expected = reference(hidden, weight, None, labels)
    assert record.product_dtypes == [(torch.bfloat16, torch.bfloat16)] * 9
    assert loss.dtype == torch.float32
    assert {gradient.dtype for gradient in found} == {torch.float32}
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(found[0], gradients(expected, hidden)[0], rtol=0.02, atol=0.02)


def test_in_bfloat16_many_chunks_are_as_exact_as_one():
    """Sums over chunks in bfloat16 would lose three digits of the loss and drown small gradients."""
    hidden, weight, bias, labels = problem(512, 16, 64)
    right = reference(hidden, weight, bias, labels)
    right_gradient = gradients(right, weight)[0]
    errors = {}
    for chunk_rows in (1, 512):
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy_sum(hidden, weight, bias, labels, chunk_rows)
        errors[chunk_rows] = (gradients(loss, weight)[0] - right_gradient).norm() / right_gradient.norm()
        assert abs(loss / right - 1) < 1e-3
    assert errors[1] < 1.2 * errors[512]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_parameters_in_half_precision_get_gradients_of_their_type_and_a_float32_loss(dtype):
    hidden, weight, bias, labels = (
        tensor.detach().to(dtype).requires_grad_() if tensor.is_floating_point() else tensor for tensor in problem(40, 8, 16)
    )
    loss = cross_entropy_sum(hidden, weight, bias, labels, chunk_rows=7)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, reference(hidden, weight, bias, labels), rtol=1e-3, atol=0)
    assert {gradient.dtype for gradient in gradients(loss, hidden, weight, bias)} == {dtype}


def test_float16_gradients_do_not_underflow_when_the_loss_is_a_mean_over_many_tokens():
    """Probabilities near 1 / vocabulary, divided by the number of tokens, are below float16's smallest number (6e-8)."""
    hidden, weight, _, labels = problem(64, 8, 2048, bias=False)
    with torch.autocast("cpu", torch.float16):
        loss = cross_entropy_sum(hidden, weight * 1e-3, None, labels) / 1e6
    right = gradients(reference(hidden, weight * 1e-3, None, labels) / 1e6, weight)[0]
    found = gradients(loss, weight)[0]
    assert (found - right).norm() / right.norm() < 1e-2


def test_gradients_of_several_losses_add_up_in_a_weight_used_twice():
    """Tied embeddings, two micro-batches: one weight is both embedding and head."""
    _, weight, _, labels = problem(10, 6, 9, bias=False)
    tokens = labels.flip(0)
    for half in (slice(0, 4), slice(4, 10)):
        cross_entropy_sum(weight[tokens[half]], weight, None, labels[half], chunk_rows=3).backward()
    expected = gradients(reference(weight[tokens], weight, None, labels), weight)[0]
    torch.testing.assert_close(weight.grad, expected, rtol=1e-5, atol=1e-5)


def test_a_second_backward_is_refused_rather_than_wrong():
    hidden, weight, bias, labels = problem(4, 3, 5)
    loss = cross_entropy_sum(hidden, weight, bias, labels)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated twice"):
        loss.backward()


@pytest.mark.parametrize("label", [7, -1])
def test_a_label_outside_of_the_vocabulary_is_an_error(label):
    hidden, weight, bias, labels = problem(4, 3, 7)
    labels[2] = label
    with pytest.raises((IndexError, RuntimeError)):
        cross_entropy_sum(hidden, weight, bias, labels)


@given(rows=st.integers(0, 10**6), vocabulary=st.integers(1, 10**6))
def test_chunks_are_equal_and_within_the_budget(rows, vocabulary):
    chunk = _chunk_rows(rows, vocabulary, "cpu")
    assert chunk >= 1
    assert chunk == 1 or chunk * vocabulary * 4 <= 64 * 2**20
    assert chunk <= 512
    num_chunks = -(-rows // chunk)
    assert num_chunks * chunk - rows < max(num_chunks, 1)


def test_labels_are_shifted_within_each_window():
    labels = torch.tensor([[1, 2, 3], [4, IGNORED, 6]])
    assert next_token_labels(labels).tolist() == [[2, 3, IGNORED], [IGNORED, 6, IGNORED]]
    assert num_predicted(labels).item() == 3


def test_the_head_still_returns_logits():
    head = LossHead(3, 5)
    hidden = torch.randn(2, 4, 3)
    torch.testing.assert_close(head(hidden), nn.functional.linear(hidden, head.weight, head.bias))
    labels = torch.zeros(2, 4, dtype=torch.long)
    torch.testing.assert_close(head(hidden, labels), reference(hidden.view(8, 3), head.weight, head.bias, labels.view(8)))


PRECISIONS = [torch.float32, torch.bfloat16]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_function_to_compile_means_what_the_operations_mean(monkeypatch, precision, bias) -> None:
    """Without the compiler: value and gradients equal those of the operations one by one, a short last chunk included."""
    monkeypatch.setattr("codeparrot.model.loss._compiled", lambda: losses_and_gradients)
    for_both(precision, bias)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_compiled_loss_equals_the_plain_one_and_a_short_last_chunk_does_not_compile_again(precision) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for_both(precision, bias=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert not torch._dynamo.utils.counters["graph_break"]


def for_both(precision: torch.dtype, bias: bool) -> None:
    hidden, weight, biases, labels = problem(70, 16, 640, bias=bias)
    labels[::6] = IGNORED
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        losses = [cross_entropy_sum(hidden, weight, biases, labels, 32, compiled) for compiled in (False, True)]
        expected = reference(hidden, weight, biases, labels)
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    # In bfloat16, `reference` rounds once more, after the bias.
    torch.testing.assert_close(losses[1], expected, rtol=1e-5 if precision == torch.float32 else 1e-3, atol=0)
    plain, found, right = (gradients(loss, hidden, weight, biases) for loss in (*losses, expected))
    # In bfloat16 a gradient may round to its other neighbour.
    rounding = 1e-6 if precision == torch.float32 else 2**-8
    for one, other, third in zip(plain, found, right, strict=True):
        assert (one - other).norm() <= rounding * one.norm()
        assert (other - third).norm() <= 4 * rounding * third.norm()


def test_the_compiled_loss_ignores_what_a_shorter_chunk_leaves_of_the_one_before(monkeypatch) -> None:
    monkeypatch.setattr("codeparrot.model.loss._compiled", lambda: losses_and_gradients)
    hidden, weight, bias, labels = problem(5, 3, 7)
    with torch.no_grad():
        hidden[1] = torch.inf  # the last chunk is a single row, and this one stays in the buffer beside it
    labels[1] = IGNORED
    loss = cross_entropy_sum(hidden, weight, bias, labels, 2, compiled=True)
    assert loss.isfinite() and gradients(loss, bias)[0].isfinite().all()


def test_evaluation_compiles_nothing(monkeypatch) -> None:
    monkeypatch.setattr("codeparrot.model.loss._compiled", lambda: pytest.fail("compiled"))
    hidden, weight, bias, labels = problem(4, 3, 7)
    with torch.no_grad():
        cross_entropy_sum(hidden, weight, bias, labels, compiled=True)


class Scheduled(Exception):
    """Raised once inductor has fused the operations; nothing is built."""


@pytest.mark.parametrize(("bias", "most"), [(False, 8), (True, 10)])
def test_the_compiled_loss_moves_at_most_ten_bytes_a_logit(bias, most) -> None:
    """Counts every pass over a tensor as large as the logits, as if nothing stayed in a cache between two passes."""
    rows, vocabulary = 64, 8192
    moved: list[int] = []

    def count(nodes: Any) -> Any:
        for node in (part for fused in nodes for part in fused.get_nodes()):
            for access in (*node.read_writes.reads, *node.read_writes.writes):
                # A read at an index that is itself read, as that of the label's logit, is one element a row.
                if not access.is_indirect() and int(access.get_numel()) == rows * vocabulary:
                    moved.append(V.graph.get_dtype(access.name).itemsize)
        raise Scheduled

    import torch._inductor.config
    from torch._inductor.virtualized import V

    torch._dynamo.reset()
    logits, labels = torch.randn(rows, vocabulary).bfloat16(), torch.zeros(rows, dtype=torch.long)
    watched = torch._inductor.config.patch(_post_fusion_custom_pass=count, fx_graph_cache=False)
    with watched, pytest.raises(Exception, match="Scheduled"), torch.no_grad():
        torch.compile(losses_and_gradients, dynamic=False)(logits, torch.randn(vocabulary) if bias else None, labels, bias)
    assert sum(moved) <= most
    assert len(moved) >= 4


@pytest.mark.parametrize("ignored", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("chunk_rows", [None, 3])
def test_the_losses_of_rows_are_those_of_each_alone(chunk_rows, ignored) -> None:
    hidden, weight, bias, labels = problem(10, 8, 50)
    labels[: int(10 * ignored)] = IGNORED
    shaped = hidden.view(2, 5, 8), labels.view(2, 5)
    found = cross_entropies(shaped[0], weight, bias, shaped[1], chunk_rows)
    pairs = zip(hidden.detach(), labels, strict=True)
    expected = [0.0 if label == IGNORED else float(reference(row, weight, bias, label).detach()) for row, label in pairs]
    assert found.dtype == torch.float32 and found.shape == (2, 5) and not found.requires_grad
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-5)

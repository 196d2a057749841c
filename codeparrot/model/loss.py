"""Cross-entropy of a linear head that never holds the logits of the whole batch.

Guarantees: value and gradients equal `F.cross_entropy(hidden @ weight.T + bias, labels, reduction="sum")` to float32
rounding. Under autocast, or with parameters in bfloat16, the matrix products run in that type; the soft-max, the sum of the
losses and the gradients of weight and bias accumulate in float32.

Costs: rows are processed a chunk at a time, and the forward pass also computes the gradients, so no chunk is computed twice:
three matrix products a chunk, as without chunks. Memory: the gradients and the float32 logits of one chunk; when the products
run in another type, also those logits, the weight and its product in that type.

What lies between the products is also there as one function to compile (`LossHead.compiled`). In bfloat16 that moves 8 bytes a
logit, 10 with a bias, where the operations one by one move 44, and keeps no float32 logits (tests/model/test_loss.py).

`torch.nn.functional.linear_cross_entropy` (torch 2.13) is not used: with bfloat16 input it sums the chunks and returns the loss
in bfloat16 (11.69 instead of 11.36 over 32 chunks).
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from codeparrot.model import IGNORED

_CHUNK_ROWS_CPU = 512
"""At a vocabulary of 4,096, a fifth faster than 2,048 rows, whose logits leave the cache between two passes; at 16,384, 2 to 5%
slower. Fewer make the products slow: 128 take 4 to 30% longer, the most at 32,768."""
_CHUNK_BYTES_CPU = 64 * 2**20
"""Float32 logits of one chunk, at most."""
_CHUNK_BYTES_ACCELERATOR = 512 * 2**20
"""Every chunk reads and writes the weight's gradient once; the matrix products of some thousand rows hide that."""


class LossHead(nn.Linear):
    """A linear head that also computes the loss.

    The product with the weight must happen in the forward of the module that owns the weight: ZeRO-3 and FSDP2 gather a
    parameter only for that module.
    """

    compiled = False
    """Whether a loss with gradients compiles its pointwise part. Losses without gradients never do."""
    z_loss = 0.0
    """Weight of the squared logarithm of the soft-max's denominator, in the gradients alone."""

    def forward(self, input: Tensor, labels: Tensor | None = None, reduction: Literal["sum", "none"] = "sum") -> Tensor:
        """Return the logits, or, given `labels` (one a row of `input`), the cross-entropies: their sum, a scalar, or each."""
        if labels is None:
            return nn.functional.linear(input, self.weight, self.bias)
        if reduction == "none":
            return cross_entropies(input, self.weight, self.bias, labels)
        return cross_entropy_sum(input, self.weight, self.bias, labels, compiled=self.compiled, z_loss=self.z_loss)


def compile_loss(model: nn.Module) -> None:
    """Have the loss of a model compile its pointwise part at its first use. A family's own loss stays as it is."""
    for module in model.modules():
        if isinstance(module, LossHead):
            module.compiled = True


def set_z_loss(model: nn.Module, weight: float) -> None:
    """Have the gradients of a model's loss include the z-loss. A family's own loss stays as it is."""
    for module in model.modules():
        if isinstance(module, LossHead):
            module.z_loss = weight


def next_token_labels(labels: Tensor) -> Tensor:
    """Return labels shifted to the next token, in the same shape; the last position of a window predicts nothing."""
    return nn.functional.pad(labels[..., 1:], (0, 1), value=IGNORED)


def num_predicted(labels: Tensor) -> Tensor:
    """Return the number of tokens that a batch of windows predicts (a scalar tensor on the labels' device: no synchronisation).

    Args:
        labels: token ids, (windows, length), not shifted; IGNORED where nothing is to be predicted.
    """
    return labels[..., 1:].ne(IGNORED).sum()


def cross_entropy_sum(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    chunk_rows: int | None = None,
    compiled: bool = False,
    z_loss: float = 0.0,
) -> Tensor:
    """Return the sum over rows of -log softmax(hidden @ weight.T + bias)[label], a float32 scalar.

    Rows labelled IGNORED do not count; if all are, the sum and every gradient are 0. Can be differentiated once.

    The gradients are those of the sum of cross-entropy + z_loss * log(sum(exp(logits)))**2 (Chowdhery et al., 2022, PaLM): it
    keeps the logits from drifting. The value is the cross-entropy alone, so that losses of runs with and without compare.

    Args:
        hidden: (..., width).
        weight: (vocabulary, width).
        bias: (vocabulary,) or None.
        labels: (...), int64.
        chunk_rows: rows whose logits exist at once; by default at most 512 and 64 MiB on a CPU, 512 MiB elsewhere.
        compiled: compile what lies between the matrix products, if gradients are needed. Each new shape of a chunk compiles.
        z_loss: see above; 1e-4 is usual.
    """
    rows, targets = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    if chunk_rows is None:
        chunk_rows = _chunk_rows(rows.shape[0], weight.shape[0], hidden.device.type)
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
    # Tracing would unroll the loop over chunks.
    apply = cast(Callable[..., Tensor], torch.compiler.disable(_ChunkedCrossEntropy.apply))
    return apply(rows, weight, bias, targets, dtype, chunk_rows, torch.is_grad_enabled(), compiled, z_loss)


@torch.no_grad()
def cross_entropies(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, chunk_rows: int | None = None
) -> Tensor:
    """Return -log softmax(hidden @ weight.T + bias)[label] of each row, in float32; 0 where it is IGNORED. Has no gradients.

    Args: see `cross_entropy_sum`. Rows that are IGNORED cost nothing.
    """
    predicted = labels.ne(IGNORED)
    rows, targets = hidden[predicted], labels[predicted]
    size = chunk_rows or _chunk_rows(rows.shape[0], weight.shape[0], hidden.device.type)
    losses = [
        nn.functional.cross_entropy(nn.functional.linear(piece, weight, bias).float(), target, reduction="none")
        for piece, target in zip(rows.split(size), targets.split(size), strict=True)
    ]
    return hidden.new_zeros(labels.shape, dtype=torch.float32).masked_scatter(predicted, torch.cat(losses))


def _chunk_rows(num_rows: int, vocabulary: int, device: str) -> int:
    """Chunks of equal length, so that none is a short remainder."""
    chunk_bytes = _CHUNK_BYTES_CPU if device == "cpu" else _CHUNK_BYTES_ACCELERATOR
    most = max(1, chunk_bytes // (4 * vocabulary))
    if device == "cpu":
        most = min(most, _CHUNK_ROWS_CPU)
    num_chunks = -(-num_rows // most)
    return max(1, -(-num_rows // max(1, num_chunks)))


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        dtype: torch.dtype,
        chunk_rows: int,
        grad_enabled: bool,
        compiled: bool,
        z_loss: float,
    ) -> Tensor:
        need_hidden, need_weight, need_bias = (grad_enabled and need for need in ctx.needs_input_grad[:3])
        weight_cast = weight.to(dtype)
        total = hidden.new_zeros((), dtype=torch.float32)
        grad_hidden = torch.empty_like(hidden, dtype=dtype) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and need_bias else None
        # One set of buffers for all chunks: on a CPU, freeing and mapping memory again costs page faults each time.
        logits = hidden.new_empty((min(chunk_rows, hidden.shape[0]), weight.shape[0]), dtype=dtype)
        need_any = need_hidden or need_weight or need_bias
        pointwise = _Compiled(logits, bias, z_loss) if compiled and need_any else _Eager(logits, bias, need_any, z_loss)
        buffer_weight = torch.empty_like(weight_cast) if need_weight and dtype != torch.float32 else None
        for start in range(0, hidden.shape[0], chunk_rows):
            piece = slice(start, start + chunk_rows)
            rows = hidden[piece].to(dtype)
            torch.mm(rows, weight_cast.T, out=logits[: rows.shape[0]])
            loss, gradient = pointwise(labels[piece], grad_bias)
            total += loss
            if grad_hidden is not None:
                torch.mm(gradient, weight_cast, out=grad_hidden[piece])
            if grad_weight is not None:
                _add_product_(grad_weight, gradient, rows, buffer_weight)
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_total: Tensor
    ) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the loss was differentiated twice: its gradients are handed out once, not kept")
        gradients, ctx.gradients = ctx.gradients, None
        # The scale (1 / tokens, the loss scaler's factor) comes last, in float32, so that float16 gradients do not underflow.
        scaled = (
            None if gradient is None else gradient.mul_(grad_total).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        )
        return *scaled, None, None, None, None, None, None


class _Eager:
    """Turns the logits of a chunk into their gradients, operation by operation, in place.

    Args:
        logits: (rows, vocabulary), the buffer that takes the product of each chunk.
        bias: (vocabulary,) or None.
        with_gradients: else only the losses are computed, and the logits are left in no useful state.
    """

    def __init__(self, logits: Tensor, bias: Tensor | None, with_gradients: bool, z_loss: float) -> None:
        self._logits, self._bias, self._with_gradients, self._z_loss = logits, bias, with_gradients, z_loss
        self._wide = logits if logits.dtype == torch.float32 else torch.empty_like(logits, dtype=torch.float32)

    def __call__(self, labels: Tensor, grad_bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses and the gradients of the first rows, one a label; add to the bias's gradient."""
        logits, wide = self._logits[: labels.shape[0]], self._wide[: labels.shape[0]]
        if self._wide is not self._logits:
            wide.copy_(logits)
        if self._bias is not None:
            wide += self._bias
        loss = _losses_then_gradients_(wide, labels, self._with_gradients, self._z_loss)
        if grad_bias is not None:
            grad_bias += wide.sum(0)
        if self._with_gradients and self._wide is not self._logits:
            logits.copy_(wide)
        return loss, logits


class _Compiled:
    """The same as one compiled function, which leaves the logits as they are."""

    def __init__(self, logits: Tensor, bias: Tensor | None, z_loss: float) -> None:
        self._logits, self._bias, self._z_loss = logits, bias, z_loss

    def __call__(self, labels: Tensor, grad_bias: Tensor | None) -> tuple[Tensor, Tensor]:
        # A shorter last chunk would compile again: its missing rows hold logits of the chunk before, and are ignored.
        missing = self._logits.shape[0] - labels.shape[0]
        padded = nn.functional.pad(labels, (0, missing), value=IGNORED)
        loss, gradients, of_bias = _compiled()(self._logits, self._bias, padded, grad_bias is not None, self._z_loss)
        if grad_bias is not None:
            grad_bias += of_bias
        return loss, gradients[: labels.shape[0]]


def _losses_then_gradients_(logits: Tensor, labels: Tensor, with_gradients: bool, z_loss: float) -> Tensor:
    """Return the sum of the losses of one chunk and turn `logits` (float32) into their gradients, in place, or spoil them."""
    ignored = labels.eq(IGNORED).unsqueeze(1)
    counts = (~ignored).to(logits.dtype)
    targets = labels.unsqueeze(1).masked_fill(ignored, 0)
    largest = logits.amax(1, keepdim=True)
    logits.sub_(largest)
    target_logits = logits.gather(1, targets)
    denominators = logits.exp_().sum(1, keepdim=True)
    log_denominators = denominators.log()
    total = ((log_denominators - target_logits) * counts).sum()
    if with_gradients:
        shares = counts / denominators
        if z_loss:
            shares = shares * (1 + 2 * z_loss * (log_denominators + largest))
        logits.mul_(shares).scatter_add_(1, targets, -counts)
    return total


def losses_and_gradients(
    logits: Tensor, bias: Tensor | None, labels: Tensor, with_bias: bool, z_loss: float = 0.0
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the sum of the losses of one chunk, the gradients of its logits in their type, and in float32 that of the bias.

    Written to be compiled: three passes over the logits (largest, sum, gradients), a fourth `with_bias`, nothing else of their
    size. The gradient repeats the exponential, because to keep it would cost more than to compute it.
    """
    wide = logits.float() if bias is None else logits.float() + bias
    counted = labels.ne(IGNORED).unsqueeze(1)
    targets = labels.unsqueeze(1).where(counted, 0)
    largest = wide.amax(1, keepdim=True)
    log_denominators = (wide - largest).exp().sum(1, keepdim=True).log()
    losses = log_denominators - (wide.gather(1, targets) - largest)
    at_target = torch.arange(logits.shape[1], device=logits.device) == targets
    shares = (wide - largest - log_denominators).exp()
    if z_loss:
        shares = shares * (1 + 2 * z_loss * (log_denominators + largest))
    gradients = (shares - at_target.float()).where(counted, 0).to(logits.dtype)
    return losses.where(counted, 0).sum(), gradients, gradients.sum(0, dtype=torch.float32) if with_bias else None


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(losses_and_gradients, dynamic=False)


def _add_product_(total: Tensor, left: Tensor, right: Tensor, buffer: Tensor | None) -> None:
    """Add left.T @ right to total, in float32; a product in a narrower type needs a buffer."""
    if buffer is None:
        total.addmm_(left.T, right)
    else:
        total.add_(torch.mm(left.T, right, out=buffer))

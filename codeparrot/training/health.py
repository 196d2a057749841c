"""Numerical health: a step whose loss or gradient is not finite, or far out of line, changes nothing.

All processes skip a step together, because all of them see the norm of the same reduced gradient; a non-finite loss becomes a
non-finite gradient. The decision stays on the device: the optimizer takes it as a tensor, so a step waits for nothing. The
host reads which steps were skipped after a logged step, which waits for the device anyway, and before a checkpoint. DeepSpeed
looks for non-finite gradients by itself, with a synchronisation of its own.

Every step that was skipped gets a line in `anomalies.jsonl` with the documents behind its batch. So does a step that was taken
with a gradient norm six standard deviations above the mean of the last steps and above twice that mean, once a whole window of
them is known: the norms of a healthy run hardly differ, and then six deviations are little.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from codeparrot.config import TrainConfig
from codeparrot.errors import CodeparrotError
from codeparrot.optim.optimizer import OptimizerKind

SPIKE_SIGMAS = 6.0
SPIKE_FLOOR = 2.0
"""Of the mean: a smaller norm is no spike, however little the norms before it differed."""


class StepRecord(NamedTuple):
    """How a step went."""

    step: int
    loss: float
    """Mean over the tokens of the global batch."""
    grad_norm: float
    limit: float
    """Gradient norm above which a step is a spike; infinite while too few steps have been seen."""
    skipped: bool
    before: Any
    """Where the stream was before the step."""

    @property
    def spike(self) -> bool:
        return math.isfinite(self.grad_norm) and self.grad_norm > self.limit

    @property
    def reason(self) -> str:
        """Why it is an anomaly, or an empty string."""
        if not math.isfinite(self.loss):
            return "loss not finite"
        if not math.isfinite(self.grad_norm):
            return "gradient not finite"
        return "gradient norm out of line" if self.spike else "skipped by the optimizer" if self.skipped else ""


class Health:
    """Watches the gradient norm and decides about updates.

    Args:
        config: the limits.
        accelerator: of the run.
        optimizer: unwrapped.
        kind: says how the optimizer skips a step.
        zero: DeepSpeed's optimizer around it, if there is one.
    """

    def __init__(
        self, config: TrainConfig, accelerator: Any, optimizer: torch.optim.Optimizer, kind: OptimizerKind, zero: Any = None
    ) -> None:
        self._config, self._accelerator, self._kind, self._zero = config, accelerator, kind, zero
        device = accelerator.device
        self._norms = torch.zeros(config.outlier_window, device=device)
        self._places = torch.arange(config.outlier_window, device=device)
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._verdict: Tensor | None = None
        self._limit = torch.zeros((), device=device)
        self._pending: list[tuple[int, Tensor, Tensor, Any]] = []
        self._last = StepRecord(0, math.nan, math.nan, math.inf, False, None)
        self.num_skipped = 0
        """Steps skipped since the run began."""
        self.in_a_row = 0
        """Skipped steps up to the last one that was read."""
        optimizer.register_step_pre_hook(self._before_update)

    def guard(self, loss: Tensor) -> Tensor:
        """Return the loss. A non-finite loss gets a non-finite gradient, which reaches all processes."""
        return loss * torch.where(loss.detach().isfinite(), 1.0, math.nan)

    def before_update(self, grad_norm: Any) -> None:
        """Decide about the update from the norm of the whole gradient. All processes call this.

        DeepSpeed has made its update by then, and the decision within it.
        """
        if self._zero is None:
            self._check(grad_norm)

    def _check(self, grad_norm: Any) -> None:
        norm = _whole(grad_norm).to(self._norms)
        known = torch.clamp(self._count, max=self._norms.numel())
        seen = self._places < known
        mean = (self._norms * seen).sum() / known.clamp(min=1)
        variance = ((self._norms - mean).square() * seen).sum() / (known - 1).clamp(min=1)
        if self._config.outlier_sigmas:
            limit, enough = mean + self._config.outlier_sigmas * variance.sqrt(), self._norms.numel() // 2
        else:
            limit, enough = torch.maximum(mean + SPIKE_SIGMAS * variance.sqrt(), SPIKE_FLOOR * mean), self._norms.numel()
        self._limit = torch.where(known >= enough, limit, math.inf)
        bad = ~norm.isfinite()
        if self._config.outlier_sigmas:
            bad = (bad | (norm > self._limit)).to(torch.float32)
            if self._accelerator.num_processes > 1:
                # Barring a fault the norms are equal to the last bit; diverged replicas would never reconverge.
                torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MAX)
        self._verdict = bad.to(torch.float32)
        self._norms = torch.where((self._places == self._count % self._norms.numel()) & (bad == 0), norm, self._norms)
        self._count = self._count + (bad == 0)

    def done(self, step: int, loss: Tensor, grad_norm: Any, before: Any) -> None:
        """Record a step for `review`. `loss` is this process's mean."""
        if self._zero is not None and self._verdict is None:
            # DeepSpeed found a non-finite gradient and made no update.
            self._check(grad_norm)
        norm = _whole(grad_norm).to(self._norms)
        assert self._verdict is not None
        self._pending.append((step, loss, torch.stack([norm, self._limit, self._verdict]), before))
        self._verdict = None

    def review(self) -> list[StepRecord]:
        """Return how the steps since the last review went. All processes call this; it waits for the device."""
        if not self._pending:
            return []
        losses = self._accelerator.reduce(torch.stack([loss for _, loss, _, _ in self._pending]), "mean").tolist()
        values = torch.stack([value for _, _, value, _ in self._pending]).tolist()
        records = [
            StepRecord(step, loss, norm, limit, verdict != 0, before)
            for (step, _, _, before), loss, (norm, limit, verdict) in zip(self._pending, losses, values, strict=True)
        ]
        self._pending, self._last = [], records[-1]
        for record in records:
            self.num_skipped += record.skipped
            self.in_a_row = self.in_a_row + 1 if record.skipped else 0
        return records

    @property
    def hopeless(self) -> bool:
        """Whether too many steps in a row were skipped; the same on all processes.

        A run that resumes in the middle of such a row, perhaps with other settings, is first judged after a step of its own.
        """
        return self._last.skipped and self.in_a_row >= self._config.max_skipped_steps

    def error(self) -> CodeparrotError:
        """Return the error that ends a hopeless run."""
        return CodeparrotError(
            f"{self.in_a_row} steps in a row up to step {self._last.step} were skipped ({self._last.reason}); their documents "
            "are in anomalies.jsonl: lower optim.lr or optim.clip_norm and go on from a checkpoint by --resume, or raise "
            "train.max_skipped_steps"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to make the same decisions: a few numbers."""
        norms = self._norms.tolist()[: int(self._count)]
        return {"norms": norms, "count": int(self._count), "num_skipped": self.num_skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Norms from a window of another length are dropped."""
        self.num_skipped, self.in_a_row = state["num_skipped"], state["in_a_row"]
        norms = torch.tensor(state["norms"], dtype=torch.float32)
        if len(norms) == min(state["count"], self._norms.numel()):
            self._norms[: len(norms)] = norms.to(self._norms)
            self._count.fill_(state["count"])

    def _before_update(self, optimizer: Any, *_: Any) -> None:
        """Decide here under ZeRO, which knows its norm only now and updates group by group."""
        if self._verdict is None:
            self._check(self._zero._global_grad_norm)
        assert self._verdict is not None
        self._kind.skip(optimizer, self._verdict)


def _whole(norm: Any) -> Tensor:
    """Return a norm as a tensor, whether FSDP2, DDP (tensors) or DeepSpeed (a tensor or a number) computed it."""
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return torch.as_tensor(norm, dtype=torch.float32).detach()

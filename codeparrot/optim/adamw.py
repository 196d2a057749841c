"""AdamW with decoupled weight decay (Loshchilov and Hutter, 2019), in torch's fused implementation.

Weight decay depends on the shape of a parameter, not on its name, so it is right for every family of models.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class AdamW:
    def groups(self, model: "nn.Module", settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        return parameter_groups(model, settings["weight_decay"])

    def moments(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Return torch's names of the running means of the gradient and of its square."""
        return ("exp_avg", "exp_avg_sq")

    def build(self, model: "nn.Module", settings: Mapping[str, Any]) -> "torch.optim.AdamW":
        import torch

        groups = self.groups(model, settings)
        betas = (settings["beta1"], settings["beta2"])
        return torch.optim.AdamW(groups, lr=settings["lr"], betas=betas, eps=settings["eps"], fused=True)

    def skip(self, optimizer: "torch.optim.Optimizer", verdict: "Tensor") -> None:
        # The fused update reads this flag on the device; torch has it for loss scalers (torch.amp.GradScaler sets it).
        optimizer.found_inf = verdict  # type: ignore[attr-defined]

    def card(self, settings: Mapping[str, Any]) -> str:
        betas = f"betas {settings['beta1']} and {settings['beta2']}"
        return f"AdamW, lr {settings['lr']}, {betas}, decay {settings['weight_decay']}"


def parameter_groups(model: "nn.Module", weight_decay: float) -> list[dict[str, Any]]:
    """Split the trainable parameters into those that decay and those that do not.

    Matrices and embeddings (two dimensions and more) decay; biases and the gains of norms (one dimension) do not. A tied
    parameter is listed once.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]

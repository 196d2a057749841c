"""Optimizers and learning-rate schedules, one file each. A new optimizer is its file and a line here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codeparrot import registry

if TYPE_CHECKING:
    from codeparrot.optim.optimizer import OptimizerKind

OPTIMIZERS = {
    "adamw": "codeparrot.optim.adamw:AdamW",
    "muon": "codeparrot.optim.muon:Muon",
}
"""Maps `optim.name` to the class that describes the optimizer."""


def load_optimizer(settings: Mapping[str, Any]) -> "OptimizerKind":
    """Return the description of the optimizer that a configuration names.

    Args:
        settings: the section `optim`, and `ema_decay` of `train` (`Config.optimizer_settings`).

    Raises:
        CodeparrotError: no optimizer has that name.
    """
    kind = registry.find("optim.name", settings.get("name", "adamw"), OPTIMIZERS)()
    if not settings.get("ema_decay"):
        return kind
    from codeparrot.optim.average import Averaged

    return Averaged(kind, settings["ema_decay"])

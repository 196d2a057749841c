"""Optimizers and learning-rate schedules, one file each. An optimizer plugs in by its file and a line here."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from codeparrot import registry

if TYPE_CHECKING:
    from codeparrot.optim.optimizer import OptimizerKind

OPTIMIZERS = {
    "adamw": "codeparrot.optim.adamw:AdamW",
}
"""`optim.name` to the class of what is known of the optimizer."""


def load_optimizer(settings: Mapping[str, Any]) -> "OptimizerKind":
    """Return what is known of the optimizer that the section `optim` of a configuration names.

    Raises:
        CodeparrotError: there is none of that name.
    """
    return registry.find("optim.name", settings.get("name", "adamw"), OPTIMIZERS)()

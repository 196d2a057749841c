"""Objectives: what a window becomes before the model sees it, and which tokens are predicted. One file and one line each."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from codeparrot import registry

if TYPE_CHECKING:
    from codeparrot.objectives.objective import NeedsTokenizer, Objective

OBJECTIVES = {
    "causal": "codeparrot.objectives.causal:Causal",
    "masked": "codeparrot.objectives.masked:Masked",
    "span": "codeparrot.objectives.span:Span",
}
"""Maps `objective.name` to a dataclass; its fields are the other settings of `objective`."""


def load_objective(settings: Mapping[str, Any]) -> "Objective | NeedsTokenizer":
    """Return the objective that the section `objective` of a configuration describes, without what it takes from a tokenizer.

    Raises:
        CodeparrotError: no objective has that name, or it does not have these settings.
    """
    name = settings.get("name", "causal")
    kind = registry.find("objective.name", name, OBJECTIVES)
    return registry.build("objective", kind, {key: value for key, value in settings.items() if key != "name"})


def with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the section `objective` with the defaults of the settings that it leaves out."""
    name = settings.get("name", "causal")
    own = fields(registry.find("objective.name", name, OBJECTIVES)) if name in OBJECTIVES else ()
    return {"name": name, **{each.name: each.default for each in own if each.default is not MISSING}, **settings}

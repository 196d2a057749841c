"""Train with a fault in one process at one step: `FAULT=rank:step:kind`, kind nan, inf or scale; spaces separate several.

nan: the loss, and so the gradient, is not finite. inf: only the loss is not finite. scale: the loss is ten thousand times too
large.
"""

import os
import sys
from typing import Any

from codeparrot.cli import entry
from codeparrot.model.language_model import LanguageModel


def install(rank: int, steps: list[int], kind: str, micro_batches: int) -> None:
    if int(os.environ.get("RANK", "0")) != rank:
        return
    original, calls = LanguageModel.forward, 0

    def forward(self: LanguageModel, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        loss = original(self, *arguments, **options)
        if not self.training:
            return loss
        calls += 1
        if (calls - 1) // micro_batches + 1 not in steps:
            return loss
        return {"nan": loss * float("nan"), "inf": loss + float("inf"), "scale": loss * 1e4}[kind]

    LanguageModel.forward = forward  # type: ignore[method-assign]


if __name__ == "__main__":
    micro_batches = 4 // int(os.environ.get("WORLD_SIZE", "1"))
    for fault in os.environ["FAULT"].split():
        rank, steps, kind = fault.split(":")
        install(int(rank), [int(step) for step in steps.split(",")], kind, micro_batches)
    entry(["train", *sys.argv[1:]])

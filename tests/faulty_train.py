"""Train with a fault in one process at one step: `FAULT=rank:step:kind`, kind nan, inf or scale; spaces separate several.

nan: the loss, and so the gradient, is not finite. inf: only the loss is not finite. scale: the loss is ten thousand times too
large.
"""

import os
import sys
from typing import Any

import codeparrot.train
from codeparrot.cli import entry
from codeparrot.model.language_model import LanguageModel


def install(rank: int, steps: list[int], kind: str) -> None:
    if int(os.environ.get("RANK", "0")) != rank:
        return
    forward, take_step, taken = LanguageModel.forward, codeparrot.train._step, 0

    def step(training: Any, batches: Any, number: int, monitor: Any) -> Any:
        nonlocal taken
        taken = number + 1
        return take_step(training, batches, number, monitor)

    def faulty(self: LanguageModel, *arguments: Any, **options: Any) -> Any:
        loss = forward(self, *arguments, **options)
        if not self.training or taken not in steps:
            return loss
        return {"nan": loss * float("nan"), "inf": loss + float("inf"), "scale": loss * 1e4}[kind]

    LanguageModel.forward, codeparrot.train._step = faulty, step  # type: ignore[method-assign]


if __name__ == "__main__":
    for fault in os.environ["FAULT"].split():
        rank, steps, kind = fault.split(":")
        install(int(rank), [int(step) for step in steps.split(",")], kind)
    entry(["train", *sys.argv[1:]])

"""Train, and write what the third step of process 0 did to the file `WATCHED`: collectives, types, gradients kept."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

import codeparrot.train
from codeparrot.cli import entry


class Collectives(TorchDispatchMode):
    """Counts the collectives of a step by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            name = func.overloadpacket.__name__
            self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


def watch(step: Any) -> Any:
    def watched(training: Any, batches: Any, number: int, monitor: Any) -> Any:
        if number != 2:
            return step(training, batches, number, monitor)
        types: set[str] = set()
        block = training.language_model.transformer.h[0]
        handle = block.register_forward_hook(lambda module, inputs, output: types.update(map(dtype_of, (inputs[0], output))))
        with Collectives() as counting:
            result = step(training, batches, number, monitor)
        handle.remove()
        gradients = [parameter.grad for parameter in training.model.parameters()]
        seen = {
            "collectives": counting.counts,
            "types": sorted(types),
            "gradients": sum(gradient is not None for gradient in gradients),
            "storages": len({gradient.untyped_storage().data_ptr() for gradient in gradients if gradient is not None}),
        }
        if training.accelerator.is_main_process:
            Path(os.environ["WATCHED"]).write_text(json.dumps(seen), encoding="utf-8")
        return result

    return watched


def dtype_of(value: Any) -> str:
    return str((value[0] if isinstance(value, tuple) else value).dtype)


if __name__ == "__main__":
    codeparrot.train._step = watch(codeparrot.train._step)
    entry(["train", *sys.argv[1:]])

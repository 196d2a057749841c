"""Train with compiled layers, but without a compiler: graphs run operation by operation. stderr says how many there were."""

import sys
from typing import Any

import torch
import torch._dynamo

from codeparrot import train
from codeparrot.cli import entry


def install() -> None:
    original = train.outcome

    def outcome(*arguments: Any) -> Any:
        counters = torch._dynamo.utils.counters
        print(f"graphs {counters['stats']['unique_graphs']} breaks {len(counters['graph_break'])}", file=sys.stderr, flush=True)
        return original(*arguments)

    train.outcome = outcome


if __name__ == "__main__":
    install()
    torch.compiler.set_stance("default", force_backend="aot_eager")
    entry(["train", "--train.compile", "true", *sys.argv[1:]])

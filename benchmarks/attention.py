"""Milliseconds of causal attention in bf16 on the CPU, forward and backward, beside `scaled_dot_product_attention`.

Both in turns in one process, on queries, keys and values that lie side by side, as GPT-2's layer makes them; the fastest turn
of each counts.
"""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import Ratio, report

ROUNDS = 30
SHAPES = {(8, 4, 256, 32): 0.7, (8, 6, 512, 64): 0.85, (4, 12, 1024, 64): 1.0}
"""Windows, heads, length, width of a head; the share of SDPA's time that is aimed at."""


def milliseconds(attend: Callable[..., Any], shape: tuple[int, int, int, int]) -> float:
    import torch

    windows, heads, length, width = shape
    together = torch.randn(windows, length, 3 * heads * width, dtype=torch.bfloat16, requires_grad=True)
    gradient = torch.ones(windows, length, heads * width, dtype=torch.bfloat16)
    start = time.perf_counter()
    parts = together.split(heads * width, 2)
    mixed = attend(*(part.view(windows, length, heads, width).transpose(1, 2) for part in parts))
    mixed.transpose(1, 2).reshape(windows, length, heads * width).backward(gradient)
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    from codeparrot.launcher import wait_asleep

    wait_asleep()  # what every command does before torch is loaded
    from torch.nn import functional

    from codeparrot.model.cpu_attention import causal_attention
    from codeparrot.model.hardware import keep_freed_memory

    keep_freed_memory()
    ratios = []
    for shape, target in SHAPES.items():
        scale = shape[-1] ** -0.5
        ways = {
            "ours": lambda query, key, value, scale=scale: causal_attention(query, key, value, scale),
            "theirs": lambda *parts: functional.scaled_dot_product_attention(*parts, is_causal=True),
        }
        times = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):
            for name, way in ways.items():
                times[name] = min(times[name], milliseconds(way, shape))
        name = "{} windows, {} heads, {} tokens, width {}".format(*shape)
        ratios.append(Ratio(name, times["ours"], times["theirs"], "ms", target, higher_is_better=False))
    report("attention: causal, bf16, forward and backward, against SDPA", ratios, {"rounds": ROUNDS})


if __name__ == "__main__":
    main()

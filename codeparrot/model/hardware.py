"""The machine's speed and memory, and one setting that CPU training needs."""

import ctypes
import math
import platform
import re
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

PEAK_FLOPS = {
    # Dense bf16/fp16 tensor-core peaks from NVIDIA's and AMD's data sheets, without sparsity.
    "H100": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "A10G": 70e12,
    "L4": 121e12,
    "L40": 181e12,
    "L40S": 362e12,
    "V100": 125e12,
    "MI300X": 1307e12,
    "MI250X": 191.5e12,
}

FLOAT32_FLOPS = {
    # Peaks of float32 products without TF32, from the same data sheets.
    "H100": 67e12,
    "H100 PCIe": 51e12,
    "H100 NVL": 60e12,
    "H200": 67e12,
    "B200": 80e12,
    "A100": 19.5e12,
    "A10G": 35e12,
    "L4": 30.3e12,
    "L40": 90.5e12,
    "L40S": 91.6e12,
    "V100": 15.7e12,
    "MI300X": 163.4e12,
    "MI250X": 47.9e12,
}

LONGEST_PRODUCT = 0.01
"""Seconds that one product of a probe may take: long against the time to begin it, and short enough that other work on the
machine leaves some products alone. Python hears Ctrl-C between products."""
_SMALLEST = 64
_TRIALS = 4
"""Products of one size and type; the fastest counts, because other work on the machine only ever slows one down."""


def peak_flops(device: Any, precision: str) -> tuple[float, str]:
    """Return the peak FLOP/s of one device and the source of the figure: its data sheet, or matrix products timed now.

    Costs at most a second; on a CPU a few hundredths.
    """
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    known = data_sheet_flops(name) if precision != "fp32" else None
    if known is not None:
        return known, f"{name}, data sheet"
    largest = 2048 if device.type == "cpu" else 8192
    found = most_flops(_products(device, [precision], largest), seconds=1.0, largest=largest)[precision]
    return found, f"{name}, {precision} matrix products timed at the start"


def data_sheet_flops(name: str, table: Mapping[str, float] = PEAK_FLOPS) -> float | None:
    """Return the peak of a device by the name that its driver reports, of half precision, or None if it is not listed."""
    # The longest match, because "NVIDIA L40S" also contains L40; no digit behind it, because an RTX A1000 is no A100.
    key = max((key for key in table if re.search(rf"{key}(?!\d)", name)), key=len, default=None)
    return table[key] if key else None


def half_precision(device: Any) -> str:
    """Return the type in which an accelerator multiplies matrices fastest: bf16, else fp16 with tensor cores, else fp32."""
    import torch

    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16"
        return "fp16" if torch.cuda.get_device_capability(device) >= (7, 0) else "fp32"
    from accelerate.utils import is_bf16_available

    return "bf16" if is_bf16_available() else "fp32"


def dtype_of(precision: str) -> Any:
    """Return torch's type of the numbers of a precision: fp32, bf16 or fp16."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def cpu_flops(seconds: float = 0.5) -> dict[str, float]:
    """Return the FLOP/s of matrix products of one thread on this CPU, in fp32 and in bf16, measured within `seconds`.

    With avx512_bf16 or AMX bf16 is up to five times as fast as fp32, without them a hundred times slower. Of one thread,
    because several wait for each other, and next to other work that hides what a product costs.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return most_flops(_products(torch.device("cpu"), ("fp32", "bf16"), 1024), seconds, 1024)
    finally:
        torch.set_num_threads(threads)


def _products(device: Any, precisions: Sequence[str], largest: int) -> dict[str, Callable[[int], None]]:
    """Return what multiplies two square matrices of a size, by the type of their numbers."""
    import torch

    def of(precision: str) -> Callable[[int], None]:
        whole = torch.rand(largest, largest, device=device).to(dtype_of(precision))

        def multiply(size: int) -> None:
            part = whole[:size, :size]
            float((part @ part)[0, 0])  # waits for an accelerator

        multiply(_SMALLEST)  # loads the libraries
        return multiply

    return {precision: of(precision) for precision in precisions}


def most_flops(products: Mapping[str, Callable[[int], None]], seconds: float, largest: int) -> dict[str, float]:
    """Return the FLOP/s of products of two square matrices, each at its fastest.

    All are timed in turns and at the same sizes, which double for as long as none is expected to take more than
    LONGEST_PRODUCT, or to end after `seconds`.
    """
    end, size, expected = time.perf_counter() + seconds, _SMALLEST, 0.0
    found = dict.fromkeys(products, 0.0)
    while size <= largest and expected <= LONGEST_PRODUCT:
        shortest: dict[str, float] = {}
        for _, (name, multiply) in product(range(_TRIALS), products.items()):
            start = time.perf_counter()
            if size > _SMALLEST and start + expected > end:
                return found
            multiply(size)
            shortest[name] = min(shortest.get(name, math.inf), time.perf_counter() - start)
            found[name] = max(found[name], 2 * size**3 / shortest[name])
        size, expected = 2 * size, 8 * max(shortest.values())
    return found


def keep_freed_memory() -> None:
    """Have glibc keep freed memory instead of returning it to the kernel (CPU training only).

    Each step frees the same large buffers and allocates them again; faulting in their pages each time costs a good part of a
    step.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
    mallopt(m_mmap_threshold, 1 << 30)
    mallopt(m_trim_threshold, (1 << 31) - 1)
    mallopt(m_top_pad, 1 << 28)


def peak_memory_bytes(device: Any) -> int:
    """Return the peak memory so far, in bytes: of the accelerator, or of this process on a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""The machine's peak speed and memory, and one setting that CPU training needs."""

import ctypes
import platform
import resource
import time
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


def peak_flops(device: Any, precision: str) -> tuple[float, str]:
    """Return the peak FLOP/s of one device and the source of the figure: its data sheet, or a matrix product timed now."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    known = data_sheet_flops(name) if precision != "fp32" else None
    if known is not None:
        return known, f"{name}, data sheet"
    return _measured_flops(device, precision), f"{name}, a {precision} matrix product timed at the start"


def data_sheet_flops(name: str) -> float | None:
    """Return the half-precision peak of a device by the name that its driver reports, or None if it is not listed."""
    # The longest match, because "NVIDIA L40S" also contains L40 and L4.
    key = max((key for key in PEAK_FLOPS if key in name), key=len, default=None)
    return PEAK_FLOPS[key] if key else None


def _measured_flops(device: Any, precision: str) -> float:
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 2048 if device.type == "cpu" else 8192
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best, began = float("inf"), time.perf_counter()
    for trial in range(10):
        start = time.perf_counter()
        float((left @ right)[0, 0])
        best = min(best, time.perf_counter() - start)
        # One CPU core takes 0.2 s a product: ten of them were a quarter of the start-up of a run.
        if trial and time.perf_counter() - began > 0.5:
            break
    return 2 * size**3 / best


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

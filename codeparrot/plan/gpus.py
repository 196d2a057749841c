"""GPUs by the names that people and clusters give them, and how much of their memory a run may count on."""

from dataclasses import dataclass
from typing import Any

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.model.hardware import FLOAT32_FLOPS, PEAK_FLOPS

GB = 1e9
FIXED_MARGIN_BYTES, MARGIN_SHARE = int(1.5 * GB), 0.05
"""What stays free: CUDA's context, NCCL's buffers and the workspaces of libraries, about the same on all; and a share for
fragmentation. A choice, to be checked with `codeparrot plan --check RUN` on one's own GPUs."""

STREAM_BYTES = 300_000_000
"""On a CPU: what documents, encoder and prepared windows hold in each process, as measured on a corpus of 100 MB."""

MEMORY: dict[str, tuple[str, int]] = {
    "a10g": ("A10G", 24),
    "a100-40gb": ("A100", 40),
    "a100-80gb": ("A100", 80),
    "b200": ("B200", 180),
    "h100-80gb": ("H100", 80),
    "h100-pcie-80gb": ("H100 PCIe", 80),
    "h100-nvl-94gb": ("H100 NVL", 94),
    "h200": ("H200", 141),
    "l4": ("L4", 24),
    "l40": ("L40", 48),
    "l40s": ("L40S", 48),
    "mi250x": ("MI250X", 64),
    "mi300x": ("MI300X", 192),
    "v100-16gb": ("V100", 16),
    "v100-32gb": ("V100", 32),
}
"""Name in hardware.PEAK_FLOPS, and GB on the data sheet; drivers report a little more. An MI250X is two devices of 64 GB."""


@dataclass(frozen=True)
class Device:
    """What a process of the run computes on."""

    name: str
    memory_bytes: float | None
    """None: not known."""
    peak_flops: float | None
    """Of bf16, dense; None: not known without measuring."""
    margin_bytes: float = 0.0
    on_gpu: bool = True
    float32_flops: float | None = None
    """Of float32; None: as above."""

    @property
    def room_bytes(self) -> float | None:
        """Memory for tensors."""
        return None if self.memory_bytes is None else self.memory_bytes - self.margin_bytes


def device(name: str, processes_here: int) -> Device:
    """Return the device of a name: one of MEMORY; cpu; auto, which is a GPU of this machine, else its CPU.

    Args:
        name: as the user wrote it.
        processes_here: how many share this machine's memory, on a CPU.

    Raises:
        CodeparrotError: there is no such GPU in the table; the error names the nearest.
    """
    key = name.lower().replace("_", "-").replace(" ", "-")
    if key == "auto":
        return _here() or _cpu(processes_here)
    if key == "cpu":
        return _cpu(processes_here)
    if key not in MEMORY:
        of_kind = [each for each in MEMORY if each.startswith(f"{key}-")]
        hint = f"; say which: {', '.join(of_kind)}" if of_kind else nearest(key, MEMORY, 0.3)
        known = ", ".join(["auto", "cpu", *MEMORY])
        raise CodeparrotError(f'--gpu: there is no "{name}" in the table{hint} (known: {known})')
    kind, size = MEMORY[key]
    margin = FIXED_MARGIN_BYTES + MARGIN_SHARE * size * GB
    return Device(key, size * GB, PEAK_FLOPS[kind], margin, float32_flops=FLOAT32_FLOPS[kind])


def _here() -> Device | None:
    import torch

    from codeparrot.model.hardware import data_sheet_flops

    if not torch.cuda.is_available():
        return None
    name, total = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    margin, float32 = FIXED_MARGIN_BYTES + MARGIN_SHARE * total, data_sheet_flops(name, FLOAT32_FLOPS)
    return Device(name, total, data_sheet_flops(name), margin, float32_flops=float32)


def _cpu(processes: int) -> Device:
    """Return a share of this machine's memory, less what a process holds besides its tensors."""
    import psutil

    return Device("cpu", psutil.virtual_memory().available / processes, None, float(resident_bytes()), on_gpu=False)


def resident_bytes() -> int:
    """Return what a process on a CPU holds besides its tensors: Python and libraries, as this process has them, and data."""
    import psutil

    return int(psutil.Process().memory_info().rss) + STREAM_BYTES


def precision_on(chosen: Device, asked: str) -> str:
    """Return the precision of a run on a device: as asked, or what `train.precision: auto` takes there."""
    if asked != "auto":
        return asked
    if not chosen.on_gpu:
        from codeparrot.training.precision import on_the_cpu

        return on_the_cpu(asked).name
    return "fp16" if "V100" in chosen.name.upper() else "bf16"


def peak_of(chosen: Device, precision: str) -> float | None:
    """Return the FLOP/s of a device in a precision, or None where only a measurement would show it."""
    return chosen.peak_flops if precision != "fp32" else None


def float32_peak(chosen: Device) -> float:
    """Return the FLOP/s of a device in float32: of its data sheet, or those of this machine's device, measured."""
    return chosen.float32_flops or measured_peak("fp32")[0]


def measured_peak(precision: str) -> tuple[float, str]:
    """Return the peak FLOP/s of this machine's device and where the figure is from."""
    import torch

    from codeparrot.model.hardware import peak_flops

    place: Any = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return peak_flops(place, precision)

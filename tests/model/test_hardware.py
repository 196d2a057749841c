from collections.abc import Callable

import pytest
import torch

from codeparrot.model import hardware
from codeparrot.model.hardware import data_sheet_flops


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA L4", 121),
        ("NVIDIA L40", 181),
        ("NVIDIA L40S", 362),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA A100-SXM4-80GB", 312),
    ],
)
def test_a_device_has_the_peak_of_its_own_data_sheet(name, tera) -> None:
    assert data_sheet_flops(name) == tera * 1e12


def test_a_device_without_a_data_sheet_here_has_no_peak() -> None:
    for name in ("x86_64", "NVIDIA RTX A1000 Laptop GPU"):
        assert data_sheet_flops(name) is None


class Processor:
    """Multiplies at the speeds that it is given, on a clock of its own; other work slows its products of size `disturbed`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, disturbed: int = 0, **flops: float) -> None:
        self.now, self.longest, self.sizes, self._disturbed = 0.0, 0.0, [], disturbed
        self.products = {name: self._product(each) for name, each in flops.items()}
        monkeypatch.setattr(hardware.time, "perf_counter", lambda: self.now)

    def _product(self, flops: float) -> Callable[[int], None]:
        def multiply(size: int) -> None:
            taken = 2 * size**3 / flops * (2 if size == self._disturbed else 1)
            self.now += taken
            self.longest = max(self.longest, taken)
            self.sizes.append(size)

        return multiply


@pytest.mark.parametrize("bf16", [0.9e9, 20e9, 400e9])
def test_a_probe_takes_less_than_a_tenth_of_a_second_and_a_product_less_than_a_hundredth(bf16: float, monkeypatch) -> None:
    processor = Processor(monkeypatch, fp32=70e9, bf16=bf16)
    found = hardware.most_flops(processor.products, 0.5, 1024)
    assert found == pytest.approx({"fp32": 70e9, "bf16": bf16}, rel=1e-6)
    assert 0 < processor.now < 0.1 and processor.longest <= hardware.LONGEST_PRODUCT == 0.01


def test_other_work_during_the_products_of_one_size_leaves_the_figures_what_they_are(monkeypatch) -> None:
    found = hardware.most_flops(Processor(monkeypatch, disturbed=512, fp32=70e9, bf16=400e9).products, 0.5, 1024)
    assert found == pytest.approx({"fp32": 70e9, "bf16": 400e9}, rel=1e-6)


def test_a_probe_that_runs_out_of_time_answers_with_the_last_size_that_all_were_measured_at(monkeypatch) -> None:
    processor = Processor(monkeypatch, fp32=1e7, bf16=1e5)
    assert hardware.most_flops(processor.products, 0.5, 1024) == pytest.approx({"fp32": 1e7, "bf16": 1e5}, rel=1e-6)
    assert set(processor.sizes) == {64}


def test_a_cpu_is_measured_in_both_precisions_with_all_its_threads_afterwards() -> None:
    threads = torch.get_num_threads()
    assert min(hardware.cpu_flops(0.05).values()) > 1e6
    assert torch.get_num_threads() == threads

import pytest

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
    assert data_sheet_flops("x86_64") is None

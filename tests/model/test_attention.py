"""Which kernel of SDPA a step prefers. That CUDA has them is not known here: their order is."""

import pytest
import torch
from torch.nn.attention import SDPBackend

from codeparrot.errors import CodeparrotError
from codeparrot.model import attention
from codeparrot.model.families import model_config

CUDNN, FLASH, EFFICIENT, MATH = (
    int(backend)  # type: ignore[call-overload]
    for backend in (
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    )
)


@pytest.mark.parametrize(
    ("first", "capability", "order"),
    [
        ("auto", (9, 0), [CUDNN, FLASH, EFFICIENT, MATH]),
        ("auto", (10, 0), [CUDNN, FLASH, EFFICIENT, MATH]),
        ("auto", (12, 0), [FLASH, CUDNN, EFFICIENT, MATH]),  # RTX: torch does not prefer cuDNN there
        ("auto", (8, 0), [FLASH, CUDNN, EFFICIENT, MATH]),
        ("fa3", (9, 0), [FLASH, CUDNN, EFFICIENT, MATH]),
        ("efficient", (9, 0), [EFFICIENT, CUDNN, FLASH, MATH]),
    ],
)
def test_a_step_prefers_kernels_in_order_and_everything_else_what_torch_prefers(monkeypatch, first, capability, order) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    before = torch._C._get_sdp_priority_order()  # type: ignore[attr-defined]
    with attention.kernels(torch.device("cuda"), first):
        assert torch._C._get_sdp_priority_order()[:4] == order  # type: ignore[attr-defined]
        assert torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.math_sdp_enabled()
    assert torch._C._get_sdp_priority_order() == before  # type: ignore[attr-defined]


def test_on_a_cpu_nothing_is_preferred() -> None:
    before = torch._C._get_sdp_priority_order()  # type: ignore[attr-defined]
    with attention.kernels(torch.device("cpu"), "cudnn"):
        assert torch._C._get_sdp_priority_order() == before  # type: ignore[attr-defined]


@pytest.mark.parametrize(("dropout", "kernel"), [(0.0, "flash"), (0.1, "math")])
def test_the_kernel_that_is_taken_is_found_out(dropout, kernel) -> None:
    """On a CPU, dropout takes SDPA off its fast path."""
    config = model_config({"family": "gpt2", "n_embd": 32, "n_head": 2, "attn_pdrop": dropout})
    assert attention.chosen(config, torch.device("cpu"), torch.float32, 16) == kernel


def test_a_kernel_that_is_not_installed_is_one_line() -> None:
    attention.activate("auto")
    with pytest.raises(CodeparrotError, match=r"train\.attention fa3 needs the Python module flash_attn_interface; install it"):
        attention.activate("fa3")

"""The type of a run's matrix products: the recipe's, that of the run which goes on, or the fastest on this machine.

It is settled once, for all processes, and written into config.yaml: a resume elsewhere keeps it. On a CPU that costs a probe of
at most half a second, unless the type is fp32.
"""

from contextlib import suppress
from typing import Any, NamedTuple

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.launcher import sharded
from codeparrot.model import hardware
from codeparrot.run import checkpoint
from codeparrot.run.begun import begun, on_hub
from codeparrot.training.agreement import Agreement

WORTH_IT = 1.25
"""How much faster than in fp32 products must be in bf16 for a whole step to be: a step also converts numbers, and does other
things than products. GPT-2 4x128: 6.9 times faster products are a 1.6 times faster step (docs/LOG.md)."""


BEGUN = "in which the run was begun"


class Precision(NamedTuple):
    """The type of the matrix products."""

    name: str
    """fp32, bf16 or fp16."""
    reason: str = ""
    """Why, where the recipe does not say it."""
    warning: str = ""


def settle(config: Config, state: Any, agreement: Agreement) -> Precision:
    """Return the precision of a run, the same on all processes. All processes must call this.

    Args:
        config: of the run.
        state: Accelerate's PartialState: the device and the rank of this process.
        agreement: of the processes.
    """
    name, reason = config.train.precision, ""
    if name == "auto" and (begun := agreement.from_main(_begun_in(config) if state.is_main_process else None)):
        name, reason = begun, BEGUN
    if state.device.type == "cpu":
        return agreement.from_main(on_the_cpu(name, reason) if state.is_main_process else None)
    return (
        _on_accelerators(agreement.gather(hardware.half_precision(state.device))) if name == "auto" else Precision(name, reason)
    )


def on_the_cpu(name: str, reason: str = "") -> Precision:
    """Return the precision `name` on this CPU; auto: the fastest. One that is slow here comes with a warning."""
    if name in ("fp32", "fp16"):
        return Precision(name, reason)
    flops = hardware.cpu_flops()
    factor = flops["bf16"] / flops["fp32"]
    measured = f"products of one thread: {flops['bf16'] / 1e9:,.3g} GFLOP/s in bf16, {flops['fp32'] / 1e9:,.3g} in fp32"
    if name == "auto":
        return Precision("bf16" if factor >= WORTH_IT else "fp32", measured)
    if factor > 1:
        return Precision(name, reason)
    remedy = "train.precision auto takes the fastest for a new run"
    return Precision(
        name, reason, f"train.precision bf16 is {1 / factor:,.1f} times slower than fp32 here ({measured}); {remedy}"
    )


def _on_accelerators(votes: list[str]) -> Precision:
    """Return the fastest type that all accelerators of a run can do, from what each does best."""
    if "fp32" in votes:
        return Precision("fp32", "one of the accelerators is fast in nothing else")
    if "fp16" not in votes:
        return Precision("bf16", "the accelerators have it")
    if sharded() == "DeepSpeed":
        return Precision("fp32", "not every accelerator has bf16, and with DeepSpeed there is no fp16 here")
    return Precision("fp16", "not every accelerator has bf16; the loss is scaled")


def _begun_in(config: Config) -> str | None:
    """Return the precision of the checkpoint that this start goes on from, or None at the beginning of a run."""
    if on_hub(config):
        from codeparrot.hub.fetch import pushed_settings

        with suppress(CodeparrotError):  # the fetch of the checkpoint meets it again, and ends the run with it
            return _precision(pushed_settings(config.resume))
        return None
    place = begun(config)
    return _precision(checkpoint.read_manifest(place)["config"]) if place else None


def _precision(saved: dict[str, Any]) -> str:
    return checkpoint.completed(saved)["train"]["precision"]

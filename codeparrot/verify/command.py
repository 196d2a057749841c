"""`codeparrot verify`: the invariants of training, checked on the machine that will train.

Small runs on one process and with each strategy (DDP, FSDP2, ZeRO-1, 2, 3) are compared with each other. Losses and gradients
must not depend on the strategy or the split into micro-batches, a killed run must resume with the same bits, a run must go on
unchanged on another number of processes, and the exported checkpoints must be the same. All of this in float32, where a
difference is a fault; then each strategy once in bf16, where only the rounding may differ, once with Muon, which needs whole
matrices where a strategy cuts them, and once with a masked model, whose windows predict different numbers of tokens. Takes a
few minutes; no network.
"""

import importlib.util
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.location import path_of
from codeparrot.result import DONE, Result, failed, progress_bar, say
from codeparrot.verify.trials import SAVE_EVERY, STEPS, Launch, Trials

LOSS_TOLERANCE = 1e-5
"""Relative. Gradients are summed in another order, so the last bits of float32 differ."""
GRADIENT_TOLERANCE = 1e-3
"""Relative, of the norm of the whole gradient: by then the weights differ in their last digits."""
BF16_LOSS_TOLERANCE, BF16_GRADIENT_TOLERANCE = 1e-3, 1e-2
"""Relative, of runs in bf16. Over these 24 steps the strategies differed from one process by up to 1.2e-4 and 1.1e-3 (two
processes on a CPU): what is rounded to 8 bits, and when, differs with them. A loss kept in bf16 would be off by 2e-3."""
LOGIT_TOLERANCE = 1e-3
"""Absolute, of the logits of the exported models, whose magnitude is about 1."""
STRATEGIES = ("ddp", "fsdp", "zero1", "zero2", "zero3")
ALONE = Launch("ddp", 1)
MUON = ("--optim.name", "muon")


@dataclass(frozen=True)
class Check:
    """An invariant and its measurement."""

    invariant: str
    setting: str
    passed: bool | None
    """None: not run here."""
    measured: float | None = None
    tolerance: float | None = None
    detail: str = ""


def verify(processes: int = 0, strategies: list[str] | None = None, cpu: bool = False, keep: str = "") -> Result:
    """Check on this machine that training keeps its promises: a table of invariants, status 0 if all of them hold.

    Args:
        processes: Processes of the distributed runs; 0: one for each GPU, at most 8, or 2 on a CPU.
        strategies: Any of ddp, fsdp, zero1, zero2, zero3; all by default.
        cpu: Do not use GPUs.
        keep: Folder in which the runs are kept; by default they are removed unless a check fails.
    """
    if not 0 <= processes <= 1024:
        raise CodeparrotError(f"--processes {processes} is out of range: 0 to 1024")
    chosen = strategies or list(STRATEGIES)
    for name in chosen:
        if name not in STRATEGIES:
            raise CodeparrotError(f"--strategies {name} is none of {', '.join(STRATEGIES)}")
    if keep and path_of(keep).exists() and any(path_of(keep).iterdir()):
        raise CodeparrotError(f"--keep {path_of(keep)} is not empty; name a new folder")
    say("loading PyTorch; then every part starts small runs, which takes minutes in all")
    gpus = 0 if cpu else num_gpus()
    count = processes or (min(gpus, 8) if gpus else 2)
    if gpus and count > gpus:
        raise CodeparrotError(f"--processes {count} is more than the {gpus} GPUs here; use --processes {gpus}, or --cpu true")
    folder = path_of(keep) if keep else Path(tempfile.mkdtemp(prefix="codeparrot-verify-"))
    folder.mkdir(parents=True, exist_ok=True)
    checks = list(_Verification(Trials(folder.resolve(), max(count, 2), cpu), chosen, count, gpus).run())
    found = facts(checks, count, gpus)
    if not keep and found["passed"]:
        import shutil

        shutil.rmtree(folder)
    status = DONE if found["passed"] else failed(f"{'; '.join(found['failed'])}: does not hold")
    return Result(table(checks, folder if keep or not found["passed"] else None), found, status)


def num_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def facts(checks: list[Check], processes: int, gpus: int) -> dict[str, Any]:
    """Return what `--json` prints."""
    passed = all(check.passed is not False for check in checks)
    return {
        "passed": passed,
        "failed": [f"{check.invariant} ({check.setting})" for check in checks if check.passed is False],
        "processes": processes,
        "device": f"{gpus} GPUs" if gpus else "cpu",
        "checks": [asdict(check) for check in checks],
    }


def table(checks: list[Check], folder: Path | None) -> str:
    """Return the checks as a table for people."""
    width = max(len(check.invariant) for check in checks)
    setting_width = max(len(check.setting) for check in checks)
    lines = [_row(check, width, setting_width) for check in checks]
    counts = {mark: sum(check.passed is mark for check in checks) for mark in (True, False, None)}
    summary = f"{counts[True]} hold, {counts[False]} fail, {counts[None]} were not run"
    return "\n".join([*lines, "", summary + (f"; the runs are in {folder}" if folder else "")])


def _row(check: Check, width: int, setting_width: int) -> str:
    mark = {True: "ok  ", False: "FAIL", None: "-   "}[check.passed]
    measured = "" if check.measured is None else f"{check.measured:.1e}"
    limit = "" if check.tolerance is None else "equal bits" if check.tolerance == 0 else f"<= {check.tolerance:.0e}"
    text = f"{mark}  {check.invariant:<{width}}  {check.setting:<{setting_width}}  {measured:>8}  {limit:<10}  {check.detail}"
    return text.rstrip()


class _Verification:
    """Does the runs one after the other and compares them."""

    def __init__(self, trials: Trials, strategies: list[str], processes: int, gpus: int) -> None:
        self._trials, self._strategies, self._processes, self._gpus = trials, strategies, processes, gpus
        # On a GPU the order of some sums changes from run to run.
        self._exact = LOSS_TOLERANCE if gpus else 0.0

    def run(self) -> list[Check]:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        steps: list[tuple[str, Callable[[], list[Check]]]] = [
            ("one process", self._alone),
            ("one process in bf16", self._alone_in_bf16),
            ("one process with Muon", self._alone_with_muon),
            ("one process with a masked model", self._alone_with_hidden_tokens),
            ("another split into micro-batches", self._accumulation),
            ("kill and resume, one process", lambda: self._kill("alone", ALONE)),
        ]
        missing = {name: why for name in self._strategies if (why := self._missing(name))}
        for name in self._strategies:
            if name not in missing:
                steps.append((Launch(name, self._processes).name, lambda name=name: self._strategy(name)))
        checks = [Check("the loss of one process", Launch(name, 2).name, None, detail=why) for name, why in missing.items()]
        with progress_bar(steps, desc="verify", unit="part") as bar:
            for what, part in bar:
                bar.set_postfix_str(what)
                try:
                    checks = [*checks, *part()]
                except CodeparrotError as error:
                    checks.append(Check("training works", what, False, detail=str(error)))
                    if what == "one process":
                        break
        return checks

    def _missing(self, strategy: str) -> str:
        if self._processes == 1:
            return "it takes two processes: --processes 2, with fewer GPUs also --cpu true"
        if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
            return "DeepSpeed is not installed: pip install 'codeparrot[deepspeed]'"
        return ""

    def _alone(self) -> list[Check]:
        return [self._falls("alone", ALONE.name)]

    def _falls(self, name: str, setting: str, *overrides: str) -> Check:
        self._trials.train(name, ALONE, *overrides)
        losses = [line["loss"] for line in self._trials.metrics(name)]
        falls = losses[-1] < losses[0] - 0.1
        return Check("the loss falls", setting, falls, detail=f"{losses[0]:.3f} to {losses[-1]:.3f} in {STEPS} steps")

    def _alone_in_bf16(self) -> list[Check]:
        if self._without_bf16:
            return [Check("float32's loss", "bf16, one process", None, detail=self._without_bf16)]
        self._trials.train("alone_bf16", ALONE, "--train.precision", "bf16")
        return self._same_in_bf16("alone_bf16", "alone", "float32's", "bf16, one process")

    def _alone_with_muon(self) -> list[Check]:
        return [self._falls("alone_muon", "Muon, one process", *MUON)]

    def _alone_with_hidden_tokens(self) -> list[Check]:
        return [self._falls("alone_masked", "a masked model, one process", *self._trials.masked)]

    def _accumulation(self) -> list[Check]:
        checks = []
        for size in (1, 4):
            name = f"micro_batch_{size}"
            self._trials.train(name, ALONE, "--train.micro_batch_size", str(size))
            checks += self._same_curve(name, f"micro-batches of {size} windows instead of 2")
        return checks

    def _kill(self, whole: str, launch: Launch) -> list[Check]:
        name = f"killed_{whole}"
        self._trials.train_and_kill(name, launch)
        self._trials.train(name, launch)
        ours, theirs = (self._losses_and_norms(run) for run in (name, whole))
        difference = 0.0 if ours == theirs else max(map(_relative, ours, theirs))
        weights = self._weight_difference(name, whole)
        setting = launch.name
        return [
            self._check("SIGKILL and resume: losses and gradients", setting, difference, self._exact),
            self._check("SIGKILL and resume: weights at the end", setting, weights, self._exact and GRADIENT_TOLERANCE),
        ]

    def _strategy(self, strategy: str) -> list[Check]:
        launch = Launch(strategy, self._processes)
        self._trials.train(strategy, launch)
        manifest = json.loads((self._trials.checkpoint(strategy) / "manifest.json").read_text(encoding="utf-8"))
        checks = [
            Check(
                "the world size is as launched",
                launch.name,
                manifest["world_size"] == launch.processes,
                detail=f"{manifest['world_size']} of {launch.processes} processes",
            ),
            *self._same_curve(strategy, launch.name),
            *self._same_export(strategy, launch.name),
            *self._kill(strategy, launch),
        ]
        checkpoint = str(self._trials.checkpoint(strategy, SAVE_EVERY))
        self._trials.train(f"{strategy}_to_one", ALONE, "--resume", checkpoint)
        checks += self._same_curve(f"{strategy}_to_one", f"{launch.name} x {launch.processes} -> one process", skip=SAVE_EVERY)
        checkpoint = str(self._trials.checkpoint("alone", SAVE_EVERY))
        self._trials.train(f"one_to_{strategy}", launch, "--resume", checkpoint)
        checks += self._same_curve(f"one_to_{strategy}", f"one process -> {launch.name} x {launch.processes}", skip=SAVE_EVERY)
        if not self._without_bf16:
            self._trials.train(f"{strategy}_bf16", launch, "--train.precision", "bf16")
            checks += self._same_in_bf16(f"{strategy}_bf16", "alone_bf16", "one process's", f"bf16, {launch.name}")
        return [*checks, *self._with_muon(strategy, launch), *self._with_hidden_tokens(strategy, launch)]

    def _with_hidden_tokens(self, strategy: str, launch: Launch) -> list[Check]:
        """Train a masked model, whose windows predict different numbers of tokens, in other micro-batches than one process."""
        name = f"{strategy}_masked"
        self._trials.train(name, launch, *self._trials.masked, "--train.micro_batch_size", "1")
        return self._same_curve(name, f"a masked model, {launch.name}", of="alone_masked")

    def _with_muon(self, strategy: str, launch: Launch) -> list[Check]:
        """Train with Muon, and go on from the middle of that on one process."""
        name, setting = f"{strategy}_muon", f"Muon, {launch.name}"
        self._trials.train(name, launch, *MUON)
        checks = self._same_curve(name, setting, of="alone_muon")
        checkpoint = str(self._trials.checkpoint(name, SAVE_EVERY))
        self._trials.train(f"{name}_to_one", ALONE, *MUON, "--resume", checkpoint)
        setting = f"{setting} x {launch.processes} -> one process"
        return checks + self._same_curve(f"{name}_to_one", setting, skip=SAVE_EVERY, of="alone_muon")

    @property
    def _without_bf16(self) -> str:
        """Why nothing runs in bf16 here, or an empty string."""
        import torch

        lacks = self._gpus and not torch.cuda.is_bf16_supported(including_emulation=False)
        return f"{torch.cuda.get_device_name()} has no bf16" if lacks else ""

    def _same_in_bf16(self, name: str, other: str, whose: str, setting: str) -> list[Check]:
        limits = (BF16_LOSS_TOLERANCE, BF16_GRADIENT_TOLERANCE)
        return self._compare(self._trials.metrics(name), self._trials.metrics(other), f"{whose} ", setting, limits)

    def _same_curve(self, name: str, setting: str, skip: int = 0, of: str = "alone") -> list[Check]:
        ours, theirs = self._trials.metrics(name), self._trials.metrics(of)[skip:]
        prefix = "resumed elsewhere: " if skip else "one process's "
        return self._compare(ours, theirs, prefix, setting, (LOSS_TOLERANCE, GRADIENT_TOLERANCE))

    def _compare(
        self, ours: list[dict[str, Any]], theirs: list[dict[str, Any]], prefix: str, setting: str, limits: tuple[float, float]
    ) -> list[Check]:
        """Compare the losses and gradient norms of two runs, whose greatest relative differences have these limits."""
        if [line["step"] for line in ours] != [line["step"] for line in theirs]:
            return [Check(f"{prefix}steps", setting, False, detail=f"{len(ours)} steps instead of {len(theirs)}")]
        return [
            self._check(
                f"{prefix}{what}", setting, max(_relative(a[key], b[key]) for a, b in zip(ours, theirs, strict=True)), limit
            )
            for what, key, limit in zip(("loss", "gradient norm"), ("loss", "grad_norm"), limits, strict=True)
        ]

    def _same_export(self, name: str, setting: str) -> list[Check]:
        import torch
        from safetensors import safe_open
        from transformers import AutoModelForCausalLM

        ours, theirs = (self._trials.checkpoint(run) / "model" for run in (name, "alone"))
        keys = [sorted(safe_open(place / "model.safetensors", framework="pt").keys()) for place in (ours, theirs)]
        same = keys[0] == keys[1] and (ours / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
        ids = torch.arange(64).reshape(2, 32)
        with torch.no_grad():
            logits = [AutoModelForCausalLM.from_pretrained(place)(ids).logits for place in (ours, theirs)]
        difference = float((logits[0] - logits[1]).abs().max())
        return [
            Check(
                "the exported checkpoint: names and config", setting, same, detail=f"{len(keys[0])} tensors, the tied head once"
            ),
            self._check("the exported checkpoint: logits", setting, difference, LOGIT_TOLERANCE),
        ]

    def _losses_and_norms(self, name: str) -> list[float]:
        return [value for line in self._trials.metrics(name) for value in (line["loss"], line["grad_norm"])]

    def _weight_difference(self, name: str, other: str) -> float:
        import torch
        from safetensors.torch import load_file

        ours, theirs = (load_file(self._trials.checkpoint(run) / "model" / "model.safetensors") for run in (name, other))
        if all(torch.equal(ours[key], theirs[key]) for key in theirs):
            return 0.0
        return max(float((ours[key] - theirs[key]).abs().max()) for key in theirs)

    def _check(self, invariant: str, setting: str, measured: float, tolerance: float) -> Check:
        return Check(invariant, setting, measured <= tolerance, measured, tolerance)


def _relative(ours: float | None, theirs: float | None) -> float:
    if ours is None or theirs is None:
        return 0.0 if ours == theirs else math.inf
    return abs(ours - theirs) / max(abs(theirs), 1e-30)

"""`codeparrot verify` passes here, and fails when something is wrong."""

import json

import pytest

from codeparrot import cli
from codeparrot.verify import command as verify
from codeparrot.verify import trials
from codeparrot.verify.trials import Trials
from tests.launching import ROOT, started


@pytest.fixture
def warm(monkeypatch) -> None:
    """All runs but the first are forked from a process that has imported everything."""
    cold = Trials._start

    def start(self, name, launch, overrides):
        if name == "alone":
            return cold(self, name, launch, overrides)
        return started([*launch.command(), "--config", str(self.config), "--run.name", name, *overrides], ROOT)

    monkeypatch.setattr(Trials, "_start", start)


@pytest.mark.slow
def test_it_passes_here_and_says_what_it_measured(warm, capsys) -> None:
    assert cli.main(["verify", "--strategies", "zero2", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["passed"] and facts["failed"] == [] and facts["processes"] == 2
    checks = {(check["invariant"], check["setting"]): check for check in facts["checks"]}
    assert checks["SIGKILL and resume: weights at the end", "ZeRO-2"]["measured"] == 0.0
    assert checks["one process's loss", "ZeRO-2"]["measured"] <= checks["one process's loss", "ZeRO-2"]["tolerance"] == 1e-5
    assert checks["the world size is as launched", "ZeRO-2"]["detail"] == "2 of 2 processes"
    assert ("resumed elsewhere: loss", "one process -> ZeRO-2 x 2") in checks
    assert checks["one process's loss", "Muon, ZeRO-2"]["measured"] <= 1e-5
    assert checks["resumed elsewhere: loss", "Muon, ZeRO-2 x 2 -> one process"]["measured"] <= 1e-5
    assert checks["one process's loss", "best-fit, documents apart, ZeRO-2"]["measured"] <= 1e-5
    assert 0 < checks["one process's loss", "bf16, ZeRO-2"]["measured"] <= 1e-3
    assert checks["float32's gradient norm", "bf16, one process"]["tolerance"] == 1e-2


@pytest.mark.slow
def test_a_strategy_with_another_loss_fails_and_is_named(monkeypatch, warm, capsys, tmp_path) -> None:
    original = Trials.train

    def train(self, name, launch, *overrides):
        return original(self, name, launch, *overrides, *(["--optim.lr", "0.00301"] if name == "ddp" else []))

    monkeypatch.setattr(Trials, "train", train)
    assert cli.main(["verify", "--strategies", "ddp", "--keep", str(tmp_path / "runs")]) == 1
    out, err = capsys.readouterr()
    assert "FAIL  one process's loss " in out and "ok    the loss falls" in out
    assert "one process's loss (DDP)" in err and "does not hold" in err
    assert (tmp_path / "runs" / "runs" / "ddp" / "metrics.jsonl").exists()


def test_what_cannot_run_here_is_said_and_does_not_fail(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    verification = verify._Verification.__new__(verify._Verification)
    verification._processes = 2
    assert "DeepSpeed is not installed" in verification._missing("zero1") and verification._missing("fsdp") == ""
    verification._processes = 1
    assert "--processes 2" in verification._missing("ddp")
    facts = verify.facts([verify.Check("a", "b", None)], 1, 1)
    assert facts["passed"]


OF_LAUNCHER = """\
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
[0]: exitcode  : -6 (pid: 3271)
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("codeparrot: process 1: error: the disk is full\n" + OF_LAUNCHER, "codeparrot: process 1: error: the disk is full"),
        ("step 1\nValueError: no number\n" + OF_LAUNCHER, "ValueError: no number"),
        (
            "a line\nE1124 api.py:1002] failed (exitcode: -6) local_rank: 1\n" + OF_LAUNCHER,
            "E1124 api.py:1002] failed (exitcode: -6)",
        ),
        ("step 1\nstep 2\n\n", "step 2"),
        ("", "nothing"),
    ],
)
def test_of_a_failed_run_the_line_is_shown_that_says_why(output, expected) -> None:
    assert trials.reason(output).startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "message"), [(["--strategies", "zero9"], "zero9 is none of ddp, fsdp"), (["--keep", "/"], "/ is not empty")]
)
def test_wrong_arguments_are_named(arguments, message, capsys) -> None:
    assert cli.main(["verify", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1  # before anything is loaded

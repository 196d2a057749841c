"""Steps that must change nothing: alone, and with real processes on every strategy."""

import functools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codeparrot.config import TrainConfig
from codeparrot.optim.adamw import AdamW
from codeparrot.training.health import Health
from tests.launching import ROOT, curve, run, train_command, write_config

SCRIPT = str(ROOT / "tests" / "faulty_train.py")


class Alone:
    """What Health needs of an Accelerator."""

    device = torch.device("cpu")
    num_processes = 1

    def reduce(self, tensor, _):
        return tensor


def health_of(**settings) -> tuple[Health, torch.nn.Parameter, torch.optim.AdamW]:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=True)
    return Health(TrainConfig(**settings), Alone(), optimizer, AdamW()), parameter, optimizer


def step(health: Health, optimizer: torch.optim.AdamW, number: int, norm: float, loss: float = 1.0) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.full_like(parameter, norm / math.sqrt(3))
    health.before_update(torch.tensor(norm))
    optimizer.step()
    health.done(number, torch.tensor(loss), torch.tensor(norm), None)


def test_a_gradient_that_is_not_finite_changes_neither_weights_nor_moments() -> None:
    health, parameter, optimizer = health_of()
    step(health, optimizer, 1, 1.0)
    weights, state = parameter.detach().clone(), {k: v.clone() for k, v in optimizer.state[parameter].items()}
    for number, norm in ((2, math.nan), (3, math.inf)):
        step(health, optimizer, number, norm)
        assert torch.equal(parameter.detach(), weights)
        assert all(torch.equal(optimizer.state[parameter][name], value) for name, value in state.items())
    step(health, optimizer, 4, 1.0)
    assert not torch.equal(parameter.detach(), weights)
    records = health.review()
    assert [record.skipped for record in records] == [False, True, True, False]
    assert [record.reason for record in records] == ["", "gradient not finite", "gradient not finite", ""]
    assert (health.num_skipped, health.in_a_row) == (2, 0)


@pytest.mark.parametrize("sigmas", [0.0, 6.0])
def test_an_outlier_is_reported_and_skipped_only_if_that_is_asked_for(sigmas) -> None:
    health, parameter, optimizer = health_of(outlier_sigmas=sigmas, outlier_window=16)
    for number in range(1, 17):
        step(health, optimizer, number, 1.0 + 0.01 * (number % 3))
    weights = parameter.detach().clone()
    step(health, optimizer, 17, 2.1)
    assert torch.equal(parameter.detach(), weights) == (sigmas > 0)
    record = health.review()[-1]
    assert record.reason == "gradient norm out of line" and record.skipped == (sigmas > 0)
    assert 1.0 < record.limit < 1.1 if sigmas else 2.0 < record.limit < 2.1


def test_a_healthy_run_has_no_spikes() -> None:
    """Norms that differ by little, and the fall of the first steps, are no reason to frighten anybody."""
    health, _, optimizer = health_of(outlier_window=16)
    for number, norm in enumerate([9.0, 5.0, *[1.0, 1.001, 1.002] * 4, 4.0, 1.0, 1.0, 1.0, *[1.0, 1.001, 1.002] * 6, 1.9], 1):
        step(health, optimizer, number, norm)
    assert [record.step for record in health.review() if record.reason] == []


def test_the_first_steps_are_no_outliers() -> None:
    health, _, optimizer = health_of(outlier_sigmas=6.0, outlier_window=16)
    for number, norm in enumerate((1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 50.0, 1.0), 1):
        step(health, optimizer, number, norm)
    assert not any(record.reason for record in health.review())


def test_decisions_after_a_resume_are_those_of_an_uninterrupted_run() -> None:
    norms = [1.0 + 0.1 * math.sin(number) for number in range(40)]
    whole, _, whole_optimizer = health_of(outlier_sigmas=3.0, outlier_window=16)
    first, _, first_optimizer = health_of(outlier_sigmas=3.0, outlier_window=16)
    second, _, second_optimizer = health_of(outlier_sigmas=3.0, outlier_window=16)
    for number, norm in enumerate(norms):
        step(whole, whole_optimizer, number, norm)
    for number, norm in enumerate(norms[:25]):
        step(first, first_optimizer, number, norm)
    first.review()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for number, norm in enumerate(norms[25:], 25):
        step(second, second_optimizer, number, norm)
    assert second.review() == whole.review()[25:]


def test_too_many_skipped_steps_in_a_row_end_the_run_with_their_number() -> None:
    health, _, optimizer = health_of(max_skipped_steps=3)
    for number, norm in ((1, math.nan), (2, 1.0), (3, math.nan), (4, math.nan)):
        step(health, optimizer, number, norm)
    health.review()
    assert not health.hopeless
    step(health, optimizer, 5, math.nan)
    health.review()
    assert health.hopeless and "3 steps in a row up to step 5 were skipped" in str(health.error())


def test_a_run_that_goes_on_from_such_a_row_is_judged_by_its_own_steps() -> None:
    stuck, _, optimizer = health_of(max_skipped_steps=2)
    for number in (1, 2):
        step(stuck, optimizer, number, math.nan)
    stuck.review()
    assert stuck.hopeless
    mended, _, mended_optimizer = health_of(max_skipped_steps=2)
    mended.load_state_dict(stuck.state_dict())
    assert not mended.hopeless
    step(mended, mended_optimizer, 3, 1.0)
    mended.review()
    assert not mended.hopeless and mended.in_a_row == 0


def test_a_loss_that_is_not_finite_gets_a_gradient_that_is_not() -> None:
    health, _, _ = health_of()
    for value, finite in ((2.0, True), (math.inf, False), (math.nan, False)):
        x = torch.ones((), requires_grad=True)
        (gradient,) = torch.autograd.grad(health.guard(x + (value - 1.0)), x)
        assert bool(gradient.isfinite()) == finite


def faulty(num_processes: int, launch: str) -> list[str]:
    if num_processes == 1:
        return [sys.executable, SCRIPT]
    return [*train_command(num_processes, launch)[:-1], SCRIPT]


OUTLIERS = ("--train.outlier_sigmas", "6", "--train.outlier_window", "16")


@pytest.fixture(scope="module")
def references(tmp_path_factory, corpus, tokenizer_folder) -> Callable[[str], Path]:
    """A run of one process for each optimizer: the loss of step 5 is not a number, that of step 20 is an outlier."""

    @functools.cache
    def reference(optimizer: str) -> Path:
        folder = tmp_path_factory.mktemp("faulty")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAULT", "0:5:nan 0:20:scale")
            config = write_config(folder / "c.yaml", corpus, tokenizer_folder)
            run(config, *OUTLIERS, "--optim.name", optimizer, command=faulty(1, "ddp"))
        return folder / "runs" / "tiny"

    return reference


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launch", "fault", "optimizer"),
    [
        ("ddp", "1:5:inf", "adamw"),
        ("fsdp", "1:5:nan", "adamw"),
        ("zero1", "0:5:inf", "adamw"),
        ("zero2", "1:5:nan", "adamw"),
        ("zero3", "1:5:nan", "adamw"),
        ("fsdp", "1:5:inf", "muon"),
        ("zero2", "1:5:nan", "muon"),
        ("zero3", "0:5:nan", "muon"),
    ],
)
def test_a_loss_that_is_not_finite_and_an_outlier_on_one_process_skip_their_steps_on_all(
    tmp_path, corpus, tokenizer_folder, references, monkeypatch, launch, fault, optimizer
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    asked, reference = (*OUTLIERS, "--optim.name", optimizer), references(optimizer)
    monkeypatch.setenv("FAULT", f"{fault} 1:20:scale")
    _, err = run(config, *asked, "--train.log_every_steps", "3", command=faulty(2, launch))
    assert "step 5 was skipped" in err
    tiny = tmp_path / "runs" / "tiny"
    expected = {step: loss for step, loss, _ in curve(reference)}
    assert [loss for _, loss, _ in curve(tiny)] == pytest.approx([expected[step] for step, _, _ in curve(tiny)], rel=1e-5)
    assert curve(tiny)[-1][1] < 5.8
    ours, theirs = (
        [json.loads(text) for text in (place / "anomalies.jsonl").read_text(encoding="utf-8").splitlines()]
        for place in (tiny, reference)
    )
    not_finite, outlier = ours
    assert (not_finite["step"], not_finite["skipped"], not_finite["loss"]) == (5, True, None)
    assert (outlier["step"], outlier["skipped"], outlier["reason"]) == (20, True, "gradient norm out of line")
    assert [line["documents"] for line in ours] == [line["documents"] for line in theirs]
    assert [window["position"] for window in not_finite["documents"]] == list(range(8))
    assert all(document["path"].endswith(".py") for window in not_finite["documents"] for document in window["documents"])
    state = tiny / "checkpoints" / "step_00000024" / "state" / "training.json"
    assert json.loads(state.read_text(encoding="utf-8"))["num_updates"] == 22


@pytest.mark.slow
def test_a_run_whose_gradients_are_never_finite_again_ends_with_an_error(
    tmp_path, corpus, tokenizer_folder, monkeypatch
) -> None:
    monkeypatch.setenv("FAULT", "0:" + ",".join(str(step) for step in range(10, 25)) + ":nan")
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train={"max_skipped_steps": 4})
    _, err = run(config, command=faulty(2, "ddp"), status=1)
    assert "4 steps in a row up to step 13 were skipped (loss not finite)" in err and "anomalies.jsonl" in err
    tiny = tmp_path / "runs" / "tiny"
    assert json.loads((tiny / "status.json").read_text(encoding="utf-8"))["state"] == "failed"
    assert [path.name for path in (tiny / "checkpoints").glob("step_*")] == ["step_00000008"]

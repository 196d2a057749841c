"""The average of the weights with real processes: equal on every strategy, exact over a kill, and of no effect on the run."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from codeparrot.loading import find_model, load_model
from tests.launching import curve, kill_behind_step, lines, run, start, write_config

EMA = ("--train.ema_decay", "0.8")
EVALUATE = {"every_steps": 8, "sample_tokens": 0, "micro_batch_size": 64}


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder):
    folder = tmp_path_factory.mktemp("average")
    run(write_config(folder / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE), *EMA)
    return folder / "runs" / "tiny"


def average_in(run_directory, step: int = 24):
    return load_file(run_directory / "checkpoints" / f"step_{step:08d}" / "ema" / "model.safetensors")


def measured(run_directory):
    return [(line["step"], line["eval_loss"], line["ema_loss"]) for line in lines(run_directory) if "eval_loss" in line]


@pytest.mark.slow
def test_it_changes_no_step_and_is_a_model_of_its_own(tmp_path, corpus, tokenizer_folder, reference) -> None:
    config, tiny = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE), tmp_path / "runs" / "tiny"
    run(config)
    assert curve(tiny) == curve(reference)
    assert not (tiny / "checkpoints" / "step_00000024" / "ema").exists()
    (first, loss, of_average), *_, (last, end, end_of_average) = measured(reference)
    assert (first, last) == (0, 24) and of_average == loss and end_of_average != end
    model, _ = load_model(find_model(str(reference / "checkpoints" / "step_00000024" / "ema")))
    average, weights = (
        average_in(reference),
        load_file(reference / "checkpoints" / "step_00000024" / "model" / "model.safetensors"),
    )
    assert average.keys() == weights.keys()
    assert all(torch.equal(average[name], value) for name, value in model.state_dict().items() if name in average)
    assert any(not torch.equal(average[name], weights[name]) for name in average)
    # Killed, it goes on with the same bits; a checkpoint without one begins it there.
    process = start(config, *EMA, "--run.name", "killed", "--checkpoint.background", "false")
    kill_behind_step(process, tmp_path / "runs" / "killed" / "metrics.jsonl", 18)
    run(config, *EMA, "--run.name", "killed")
    assert measured(tmp_path / "runs" / "killed") == measured(reference)
    assert all(torch.equal(value, average[name]) for name, value in average_in(tmp_path / "runs" / "killed").items())
    _, err = run(config, *EMA, "--run.name", "later", "--resume", str(tiny / "checkpoints" / "step_00000016"))
    assert "holds no average of the weights: it begins there" in err
    assert curve(tmp_path / "runs" / "later") == curve(reference)[16:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [[("ddp", 2), ("zero3", 2)], [("zero2", 2), ("fsdp", 2)], [("fsdp", 2), ("zero1", 2)]],
    ids=lambda chain: "-".join(f"{launch}x{count}" for launch, count in chain),
)
def test_it_is_the_same_on_every_strategy(tmp_path, corpus, tokenizer_folder, reference, chain) -> None:
    config, tiny = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE), tmp_path / "runs" / "tiny"
    (launch, count), (other, others) = chain
    process = start(config, *EMA, "--checkpoint.background", "false", num_processes=count, launch=launch)
    kill_behind_step(process, tiny / "metrics.jsonl", 10)
    run(config, *EMA, num_processes=others, launch=other)
    for ours, theirs in zip(measured(tiny), measured(reference), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    for (_, loss, _), (_, expected, _) in zip(curve(tiny), curve(reference), strict=True):
        assert loss == pytest.approx(expected, rel=1e-5)
    ours, theirs = average_in(tiny), average_in(reference)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_under_zero3_parameters_may_divide_unevenly(tmp_path, corpus, tokenizer_folder) -> None:
    """A width of 34 over three processes: the last pieces are padded, at the start, at evaluations and at a resume."""
    shape, batch = {"n_embd": 34, "n_head": 2}, {"global_batch_size": 12, "micro_batch_size": 1, "max_steps": 8}
    how: dict[str, Any] = {"model": shape, "train": batch, "stream": {"lanes": 12}, "evaluate": EVALUATE}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, **how)
    run(config, *EMA, "--run.name", "alone")
    run(config, *EMA, "--train.max_steps", "4", num_processes=3, launch="zero3")
    resume = ("--run.name", "on", "--resume", str(tmp_path / "runs" / "tiny" / "checkpoints" / "step_00000004"))
    run(config, *EMA, *resume, num_processes=3, launch="zero3")
    ours, theirs = average_in(tmp_path / "runs" / "on", 8), average_in(tmp_path / "runs" / "alone", 8)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)

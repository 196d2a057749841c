"""Muon with real processes: every strategy trains the same model, and goes on from the checkpoints of the others."""

import json

import pytest

from tests.launching import curve, kill_behind_step, run, start, write_config

MUON = ("--optim.name", "muon", "--optim.embedding_lr", "0.004")


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder):
    folder = tmp_path_factory.mktemp("muon")
    run(config_in(folder, corpus, tokenizer_folder), *MUON)
    return folder / "runs" / "tiny"


def config_in(folder, corpus, tokenizer_folder):
    """A width of 34: three processes hold rows and pieces of matrices that do not divide evenly."""
    shape = {"n_embd": 34, "n_head": 2}
    batch = {"global_batch_size": 12, "micro_batch_size": 1}
    return write_config(folder / "c.yaml", corpus, tokenizer_folder, model=shape, train=batch, stream={"lanes": 12})


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [
        [("ddp", 2), ("fsdp", 3)],
        [("fsdp", 2), ("zero1", 2)],
        [("zero1", 3), ("zero3", 2)],
        [("zero2", 2), ("ddp", 1)],
        [("zero3", 3), ("zero2", 3)],
    ],
    ids=lambda chain: "-".join(f"{launch}x{count}" for launch, count in chain),
)
def test_a_killed_run_goes_on_under_another_strategy_and_is_the_run_of_one_process(
    tmp_path, corpus, tokenizer_folder, reference, chain
) -> None:
    config, tiny = config_in(tmp_path, corpus, tokenizer_folder), tmp_path / "runs" / "tiny"
    (launch, count), (other, others) = chain
    process = start(config, *MUON, "--checkpoint.background", "false", num_processes=count, launch=launch)
    kill_behind_step(process, tiny / "metrics.jsonl", 10)
    _, err = run(config, *MUON, num_processes=others, launch=other)
    assert "resumed at step 8" in err or "resumed at step 16" in err
    for (step, loss, norm), (same, expected, expected_norm) in zip(curve(tiny), curve(reference), strict=True):
        assert step == same
        assert loss == pytest.approx(expected, rel=1e-5)
        assert norm == pytest.approx(expected_norm, rel=1e-3)
    manifest = json.loads((tiny / "checkpoints" / "step_00000024" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["config"]["optim"]["name"] == "muon"


@pytest.mark.slow
def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path, corpus, tokenizer_folder, reference) -> None:
    config = config_in(tmp_path, corpus, tokenizer_folder)
    run(config, "--train.max_steps", "8")
    _, err = run(config, *MUON, "--train.max_steps", "8", status=1)
    assert "optim.name: adamw -> muon" in err

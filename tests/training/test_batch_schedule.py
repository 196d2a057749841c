"""Batches that grow, with real processes: the windows of a run whose batches do not, in the same order, on every strategy."""

import json

import pytest

from codeparrot.inspect_batch import inspect
from tests.launching import curve, kill_behind_step, lines, run, start, write_config

GROWING = ("--train.global_batch_schedule", "[[8, 16], [16, 24]]")
"""From 8 windows."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder):
    folder = tmp_path_factory.mktemp("growing")
    run(config_in(folder, corpus, tokenizer_folder), *GROWING)
    return folder / "runs" / "tiny"


def config_in(folder, corpus, tokenizer_folder):
    batch = {"global_batch_size": 8, "micro_batch_size": 2}
    return write_config(folder / "c.yaml", corpus, tokenizer_folder, train=batch)


def windows_of(run_directory, step):
    return [window["documents"] for window in inspect(str(run_directory), step, text=False).data["windows"]]


@pytest.mark.slow
def test_the_order_is_that_of_steps_of_one_size(tmp_path, corpus, tokenizer_folder, reference) -> None:
    # A size that no step reaches changes nothing, and is said.
    run(config_in(tmp_path, corpus, tokenizer_folder), "--train.global_batch_schedule", "[[100, 16]]")
    constant = tmp_path / "runs" / "tiny"
    log = (constant / "log" / "rank_00000.log").read_text(encoding="utf-8")
    assert "(8 windows, 16 from step 101; this run ends before step 101)" in log
    assert curve(constant)[:8] == curve(reference)[:8] and curve(constant)[8:] != curve(reference)[8:]
    # Steps 9 and 10 of 16 windows are steps 9 to 12 of 8; step 17 of 24 windows is steps 25 to 27.
    for grown, same in ((9, (9, 10)), (10, (11, 12)), (17, (25, 26, 27))):
        assert windows_of(reference, grown) == [each for step in same for each in windows_of(constant, step)]
    tokens = {line["step"]: line["tokens"] for line in lines(reference) if "loss" in line}
    assert (tokens[8], tokens[9], tokens[24]) == (8 * 8 * 32, (8 * 8 + 16) * 32, (8 * 8 + 8 * 16 + 8 * 24) * 32)
    manifest = json.loads((reference / "checkpoints" / "step_00000024" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["tokens"] == tokens[24]
    # Another schedule is another run.
    changed = ("--train.global_batch_schedule", "[[8, 16]]", "--run.dir", str(reference.parent))
    _, err = run(config_in(tmp_path, corpus, tokenizer_folder), *changed, status=1)
    assert "train.global_batch_schedule: [[8, 16], [16, 24]] -> [[8, 16]]" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [[("ddp", 2), ("zero3", 2)], [("zero2", 2), ("fsdp", 2)], [("fsdp", 2), ("ddp", 1)]],
    ids=lambda chain: "-".join(f"{launch}x{count}" for launch, count in chain),
)
def test_it_is_the_same_on_every_strategy_and_over_a_kill(tmp_path, corpus, tokenizer_folder, reference, chain) -> None:
    config, tiny = config_in(tmp_path, corpus, tokenizer_folder), tmp_path / "runs" / "tiny"
    (launch, count), (other, others) = chain
    process = start(config, *GROWING, "--checkpoint.background", "false", num_processes=count, launch=launch)
    kill_behind_step(process, tiny / "metrics.jsonl", 12)
    run(config, *GROWING, num_processes=others, launch=other)
    for (step, loss, norm), (same, expected, expected_norm) in zip(curve(tiny), curve(reference), strict=True):
        assert step == same
        assert loss == pytest.approx(expected, rel=1e-5)
        assert norm == pytest.approx(expected_norm, rel=1e-3)

"""The likelihood of solutions is measured at each evaluation of a run, and never ends it."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from codeparrot.eval.tasks.likelihood import likelihood
from tests.launching import lines, run, write_config

EVALUATE = {"every_steps": 4, "sample_tokens": 0, "max_tokens": 64, "micro_batch_size": 64}


@pytest.mark.slow
def test_a_run_measures_what_eval_likelihood_measures(tmp_path: Path, corpus: Path, tokenizer_folder: Path) -> None:
    config = write_config(
        *(tmp_path / "c.yaml", corpus, tokenizer_folder),
        evaluate={**EVALUATE, "likelihood_problems": "codeparrot"},
        train={"max_steps": 8},
        tracking={"trackers": ["tensorboard"]},
    )
    folder = tmp_path / "runs" / "tiny"
    _, err = run(config)
    assert "solutions   51 of codeparrot at each evaluation" in err
    found = [line for line in lines(folder) if "solution_bits_per_byte" in line]
    assert [(line["step"], line["tokens"], line["problems"], line["num_solutions"]) for line in found] == [
        (step, step * 8 * 32, "codeparrot", 51) for step in (0, 4, 8)
    ]
    values = [line["solution_bits_per_byte"] for line in found]
    assert values[0] > values[1] > values[2] > 1
    report = likelihood(str(folder), problems="codeparrot").data
    assert report["solution_bits_per_byte"] == pytest.approx(values[2], rel=1e-4)
    events = EventAccumulator(str(folder / "codeparrot"))
    events.Reload()
    assert [event.step for event in events.Scalars("solution_bits_per_byte")] == [0, 4, 8]


@pytest.mark.slow
def test_problems_that_cannot_be_measured_are_named_once_and_training_goes_on(
    tmp_path: Path, corpus: Path, tokenizer_folder: Path
) -> None:
    settings = {"evaluate": {**EVALUATE, "likelihood_problems": "codeparot"}, "train": {"max_steps": 4}}
    _, err = run(write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, **settings))
    assert err.count("no likelihood of solutions in this run: there are no problems 'codeparot'; did you mean") == 1
    last = lines(tmp_path / "runs" / "tiny")[-1]
    assert last["step"] == 4 and json.dumps(last)

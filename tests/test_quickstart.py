"""What the quickstart says of a run that was stopped in its middle."""

import json
from pathlib import Path
from typing import Any

import pytest

from codeparrot import quickstart
from codeparrot.config import Config, RunConfig, StreamConfig, TrainConfig
from codeparrot.result import Result


def measured(tmp_path: Path, lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the quickstart finds in a finished run of 100 steps with these evaluations."""
    config = Config(
        run=RunConfig(name="nano", dir=str(tmp_path)),
        train=TrainConfig(max_steps=100, global_batch_size=8),
        stream=StreamConfig(valid=["corpus"], seq_length=256),
    )
    config.run_directory.mkdir()
    text = "".join(json.dumps({"bits_per_byte": 2.0, "tokens": 2048 * line["step"], **line}) + "\n" for line in lines)
    (config.run_directory / "metrics.jsonl").write_text(text, encoding="utf-8")
    asked = lambda checkpoint, data: Result("", {"perplexity": 77.0, "bits_per_byte": 1.5})  # noqa: E731
    monkeypatch.setattr("codeparrot.eval.tasks.perplexity.perplexity", asked)
    return quickstart._measure(config)


def test_a_whole_run_has_both_figures(tmp_path, monkeypatch) -> None:
    facts = measured(tmp_path, [{"step": 0, "perplexity": 6000.0}, {"step": 100, "perplexity": 90.0}], monkeypatch)
    assert quickstart._perplexities(facts) == "6,000 before training (on a sample), 90.0 after 204,800 tokens"


def test_a_run_that_was_stopped_before_its_first_evaluation_names_no_figure_of_before(tmp_path, monkeypatch) -> None:
    facts = measured(tmp_path, [{"step": 50, "perplexity": 400.0}, {"step": 100, "perplexity": 90.0}], monkeypatch)
    assert facts["perplexity_before"] is None
    text = "not measured before training, where it was stopped, 90.0 after 204,800 tokens"
    assert quickstart._perplexities(facts) == text


@pytest.mark.parametrize("lines", [[], [{"step": 0, "perplexity": 6000.0}]])
def test_a_run_that_was_stopped_in_its_last_evaluation_is_measured_now(lines, tmp_path, monkeypatch) -> None:
    facts = measured(tmp_path, lines, monkeypatch)
    assert (facts["perplexity_after"], facts["bits_per_byte"], facts["tokens"]) == (77.0, 1.5, 204_800)

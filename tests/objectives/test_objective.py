"""An objective is a function of the window and its number in the run, and predicts equally many tokens in each window."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codeparrot.config import Config, StreamConfig, TrainConfig
from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.objectives import OBJECTIVES, load_objective, with_defaults
from codeparrot.objectives.causal import Causal
from codeparrot.objectives.objective import Examples, check_even
from codeparrot.training.parts import Training
from codeparrot.training.resume import _changes


@dataclass(frozen=True)
class Numbered:
    """Records the windows it is given."""

    rate: float = 0.5
    """Settings of an objective that has none."""

    def examples(self, windows: NDArray[np.int64], numbers: Sequence[int], seed: int) -> Examples:
        return Examples(np.broadcast_to(np.array(numbers)[:, None], windows.shape).copy(), windows)

    def card(self) -> str:
        return f"numbers at the rate {self.rate}"


def numbers_seen(config: Config, world_size: int, step: int) -> dict[int, int]:
    """Return the number that the objective saw for each sequence of a global batch, by its place."""
    seen = {}
    for rank in range(world_size):
        parts: Any = SimpleNamespace(config=config, accelerator=SimpleNamespace(num_processes=world_size, process_index=rank))
        own = [n for m in range(config.micro_batches(world_size)) for n in Training._numbers(parts, step, m)]
        # The order of the run: sequence j is of lane j mod lanes; process r has the lanes that are r modulo the world size.
        places = [j for j in range(config.train.global_batch_size) if (j % config.stream.lanes) % world_size == rank]
        seen |= dict(zip(places, own, strict=True))
    return seen


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.integers(0, 5))
def test_a_window_has_one_number_whatever_the_processes_and_micro_batches(world_size, micro_batch_size, step) -> None:
    train = TrainConfig(global_batch_size=16, micro_batch_size=micro_batch_size)
    config = Config(stream=StreamConfig(lanes=8), train=train)
    assert numbers_seen(config, world_size, step) == {place: 16 * step + place for place in range(16)}


def test_causal_windows_are_what_they_were() -> None:
    windows = np.arange(12).reshape(2, 6)
    found = Causal().examples(windows, [0, 1], 0)
    assert found.input_ids is windows and found.labels is windows


def test_windows_that_predict_unequally_many_tokens_are_refused() -> None:
    windows = np.ones((2, 4), np.int64)
    labels = windows.copy()
    labels[0, 2] = IGNORED
    with pytest.raises(CodeparrotError, match="from 2 to 3 tokens a window"):
        check_even(Examples(windows, labels))
    with pytest.raises(CodeparrotError, match="from 0 to 0"):
        check_even(Examples(windows, np.full_like(windows, IGNORED)))
    labels[1, 1] = IGNORED
    check_even(Examples(windows, labels))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "casual"}, 'objective.name: there is no "casual"; did you mean "causal"?'),
        ({"name": "numbered", "rat": 1.0}, 'objective.rat is not a setting of "Numbered"; did you mean "rate"?'),
        ({"name": "numbered", "rate": "much"}, "objective.rate is much; it must be a number$"),
        ({"name": "causal", "rate": 1.0}, 'objective.rate is not a setting of "Causal"; did you mean "fim_rate"?'),
        ({"name": "causal", "fim_rate": 1.5}, "objective.fim_rate is 1.5; it must be from 0 to 1"),
        ({"name": "causal", "fim_level": "word"}, "objective.fim_level is word; it must be character, line or token$"),
        ({"fim_level": None}, "objective.fim_level is null; give it a value, or leave it out"),
        ({"fim_rate": None}, "objective.fim_rate is null; give it a value, or leave it out"),
        ({"fim_rate": "nan"}, "objective.fim_rate is nan; it must be a number$"),
        ({"fim_rate": float("nan")}, "objective.fim_rate is nan; it must be from 0 to 1 and finite"),
    ],
)
def test_wrong_settings_are_named(settings, words, monkeypatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "numbered", f"{__name__}:Numbered")
    with pytest.raises(CodeparrotError, match=words.replace("?", r"\?")):
        load_objective(settings)


def test_a_setting_that_is_left_out_is_its_default_to_a_resumed_run() -> None:
    older, rate_0, half = (
        asdict(Config(objective={"name": "causal", **more})) for more in ({}, {"fim_rate": 0}, {"fim_rate": 0.5})
    )
    of_documents = {"fim_rate": 0.0, "fim_spm_rate": 0.5, "fim_level": "character"}
    assert with_defaults({}) == {"name": "causal", **of_documents, "describe_rate": 0.5}
    assert _changes(older, Config(objective={"name": "causal", "fim_rate": 0.0})) == []
    assert _changes(rate_0, Config()) == []
    assert _changes(older, Config(objective={"fim_rate": 0.5})) == ["objective.fim_rate: 0.0 -> 0.5"]
    assert _changes(half, Config()) == ["objective.fim_rate: 0.5 -> 0.0"]
    assert with_defaults({"name": "gone", "rate": 1}) == {"name": "gone", "rate": 1}


def test_settings_that_are_a_list_stay_as_they_are() -> None:
    settings = {"name": "span", "mixture": [{"rate": 0.5}, {"mean_span": 0}]}
    load_objective(settings)
    assert settings == {"name": "span", "mixture": [{"rate": 0.5}, {"mean_span": 0}]}


def test_settings_reach_the_objective(monkeypatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "numbered", f"{__name__}:Numbered")
    assert load_objective({"name": "numbered", "rate": 0.25}).card() == "numbers at the rate 0.25"

"""The loss on middles is that of whole middles whose sides are in the window, whatever the processes and the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.config import StreamConfig
from codeparrot.eval.tasks.perplexity import evaluate
from codeparrot.model import IGNORED
from codeparrot.objectives.middles import MiddleSet, load_middles, only_middles
from codeparrot.stream.validation import ValidationSet
from tests.objectives.fim_tokens import MARKS, middles
from tests.stream.bytes_encoder import END, BytesEncoder

P, M, S = MARKS.prefix, MARKS.middle, MARKS.suffix
KEPT = 7
"""A token that is predicted."""


@pytest.mark.parametrize(
    "window",
    [
        [P, 1, 1, S, 1, M, KEPT, KEPT, -END, P, S, M, -END, 1, 1, END, P, 1],
        [1, 1, M, 1, 1, END, P, S, 1, M, KEPT],  # the first piece began in the window before
        [1, S, 1, M, 1, END],
        [M, 1, END, 1, 1, END],
        [1, 1, END, P, 1, S, M, -END],
    ],
)
def test_middles_count_whose_pieces_begin_in_the_window(window) -> None:
    """A negative token stands for an end that is predicted."""
    tokens = np.abs(np.array(window))
    expected = [abs(each) if each == KEPT or each < 0 else IGNORED for each in window]
    assert only_middles(tokens, middles()).tolist() == expected


@given(st.lists(st.sampled_from([P, M, S, END, 5]), max_size=30))
def test_any_window_has_labels(window) -> None:
    tokens = np.array(window, np.int64)
    labels = only_middles(tokens, middles())
    assert ((labels == tokens) | (labels == IGNORED)).all()


@pytest.fixture(scope="module")
def stream(tmp_path_factory) -> StreamConfig:
    folder = tmp_path_factory.mktemp("files")
    for index in range(3):
        lines = [json.dumps({"content": f"{index}.{row}\n" + f"x{row} = 1\n" * (row % 9)}) for row in range(150)]
        (folder / f"valid-{index}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return StreamConfig(valid=str(folder), seq_length=32, lanes=4)


def load(stream: StreamConfig, num_tokens: int, rank: int = 0, world_size: int = 1, **changes) -> MiddleSet:
    ranks: Any = {"rank": rank, "world_size": world_size}
    # Pieces of 48 bytes, which are the tokens here.
    return load_middles(stream, middles(**{"seq_length": 16, **changes}), BytesEncoder(), num_tokens=num_tokens, **ranks)


def test_about_as_many_tokens_are_measured_as_asked_for_on_any_world_size(stream) -> None:
    one = load(stream, 4 * 32 * 10)
    assert one.whole.num_tokens == 4 * 32 * 10 and one.whole.lanes == dict.fromkeys(range(4), 10)
    shares = [load(stream, 4 * 32 * 10, rank, 4) for rank in range(4)]
    assert [w.tolist() for share in shares for w in share.whole.windows] == [w.tolist() for w in one.whole.windows]
    assert sum(share.num_predicted for share in shares) == one.num_predicted > 100
    other = load(stream, 4 * 32 * 10, rate=0.1, spm_rate=1.0, seed=9)
    assert [w.tolist() for w in other.whole.windows] == [w.tolist() for w in one.whole.windows], "whatever the run"
    everything = load(stream, 0)
    text = sum(len(json.loads(line)["content"]) for file in Path(str(stream.valid)).iterdir() for line in file.open())
    assert sum(int((window < END).sum()) for window in everything.whole.windows) == text
    assert load(stream, 10**9).whole.num_tokens == everything.whole.num_tokens, "no document twice"


def test_a_short_window_predicts_nothing_behind_its_end(stream) -> None:
    windows = [np.array([P, 1, S, M, 5, 5], np.uint32)]
    _, labels = MiddleSet(ValidationSet(windows, 10, {0: 1}), middles()).batch(0, 2)
    assert labels[0].tolist() == [*[IGNORED] * 4, 5, 5, *[IGNORED] * 4] and (labels[1] == IGNORED).all()


def test_the_loss_is_the_mean_over_the_tokens_of_middles(stream) -> None:
    class Model(torch.nn.Module):
        def forward(self, input_ids, labels, reduction):
            predicted = labels[:, 1:]
            # The loss of a token is the one in front of it.
            return input_ids[:, :-1][predicted >= 0].double().sum()

    own = load(stream, 2000)
    options: dict = {"token_bytes": torch.ones(300, dtype=torch.int64), "device": torch.device("cpu")}
    score = evaluate(Model(), own, batch_size=3, **options)
    total = count = 0
    for window in own.whole.windows:
        labels = only_middles(window.astype(np.int64), own.middles)
        places = np.flatnonzero(labels != IGNORED)
        total, count = total + int(window[places - 1].sum()), count + len(places)
    assert score is not None and score.tokens == count and score.loss == pytest.approx(total / count)


def test_damage_is_met_as_the_stream_meets_it(tmp_path) -> None:
    (tmp_path / "valid.jsonl").write_text('{"content": "a\\nb\\n"}\n{"content": 3\n', encoding="utf-8")
    own = StreamConfig(valid=str(tmp_path), seq_length=4, lanes=1)
    with pytest.raises(Exception, match="on_error skip"):
        load(own, 0)
    assert load(StreamConfig(**{**vars(own), "on_error": "skip"}), 0).whole.num_tokens > 0

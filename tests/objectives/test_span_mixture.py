"""Mixtures of denoisers: one a window, nothing lost, of lengths that are known beforehand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.objectives import load_objective
from codeparrot.objectives.denoisers import UL2, Denoiser, chosen
from codeparrot.objectives.objective import is_even, lengths_of
from codeparrot.objectives.span import Span, Spans, restored

END, FIRST = 0, 1000


def spans(count: int = 300, **own: Any) -> Spans:
    return Spans(Span(**own), tuple(range(FIRST, FIRST + count)), END)


def unpadded(inputs: np.ndarray, targets: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets as a window has them; `count` tokens of the window are ends of documents."""
    targets = targets[targets != IGNORED]
    length = len(inputs) - (np.count_nonzero(inputs == END) + np.count_nonzero(targets == END) - 2 - count)
    return inputs[:length], targets


denoisers = st.builds(
    Denoiser, st.sampled_from([0.05, 0.15, 0.5, 0.9]), st.sampled_from([0.0, 1.0, 3.0, 64.0]), st.sampled_from([0.5, 1.0, 3.0])
)


@settings(deadline=None)
@given(st.lists(st.integers(0, 900), min_size=2, max_size=300), st.lists(denoisers, min_size=1, max_size=4), st.integers(0, 99))
def test_targets_restore_the_text_whatever_denoiser_is_drawn(tokens: list[int], mixture: list[Denoiser], number: int) -> None:
    window, own = np.array(tokens, np.int64), spans(mixture=mixture)
    (inputs,), (targets,) = own.examples(window[None], [number], seed=1)
    assert (len(inputs), len(targets)) == own.lengths(len(window)) == own.settings.lengths(len(window))
    inputs, targets = unpadded(inputs, targets, tokens.count(END))
    used = np.count_nonzero(inputs >= FIRST)
    assert inputs[-1] == targets[-1] == END
    assert inputs[inputs >= FIRST].tolist() == targets[targets >= FIRST].tolist() == list(own.sentinels[:used])
    assert (restored(inputs, targets, own.sentinels) == window).all()
    sizes = [each.sizes(len(window), whole=False) for each in mixture]
    assert (len(inputs), len(targets)) in [(each.inputs, each.targets) for each in sizes]


def test_a_window_has_one_denoiser_by_seed_and_number() -> None:
    own, windows = spans(mixture="ul2"), np.arange(6 * 64).reshape(6, 64) % 900 + 1
    numbers = range(5, 11)
    whole = own.examples(windows, numbers, seed=3)
    for row, number in enumerate(numbers):
        alone = own.examples(windows[row : row + 1], [number], seed=3)
        assert (alone.input_ids[0] == whole.input_ids[row]).all() and (alone.labels[0] == whole.labels[row]).all()
    counts = [np.count_nonzero(own.examples(windows[:1], [number], seed=3).labels != IGNORED) for number in range(200)]
    assert len(set(counts)) > 3, "another number has another denoiser"
    first, again = own.of_validation(windows[0]), own.of_validation(windows[0].copy())
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


def test_denoisers_are_drawn_by_their_weights() -> None:
    mixture = [Denoiser(0.15, 3, weight=3), Denoiser(0.5, 8, weight=1)]
    share = np.mean([chosen(mixture, str(number)) is mixture[0] for number in range(4000)])
    assert share == pytest.approx(0.75, abs=0.035)  # five standard deviations


def test_the_sequential_denoiser_takes_out_the_end() -> None:
    window, own = np.arange(1, 41), spans(mixture=[Denoiser(0.25, 0)])
    inputs, targets = own.corrupted(window, "x")
    assert inputs.tolist() == [*range(1, 31), FIRST, END] and targets.tolist() == [FIRST, *range(31, 41), END]


def test_ul2_is_the_table_of_the_paper() -> None:
    found = sorted((each.rate, each.mean_span) for each in UL2)
    assert found == [(0.15, 3), (0.15, 8), (0.15, 64), (0.25, 0), (0.5, 3), (0.5, 8), (0.5, 64)]
    own = load_objective({"name": "span", "mixture": "ul2"})
    assert lengths_of(own, 512) == (512 - 77 + 26 + 1, 256 + 85 + 1) and not is_even(own)
    assert is_even(Span()) and is_even(Span(mixture="ul2", targets="text")), "each window writes all of its text"
    read, written = own.padding(512)  # pyright: ignore[reportAttributeAccessIssue]
    assert 0.1 < read < 0.25 and 0.3 < written < 0.5


def test_a_mixture_of_one_is_the_objective_without_a_mixture() -> None:
    windows = np.arange(4 * 64).reshape(4, 64) + 1
    first, second = (each.examples(windows, range(4), 0) for each in (spans(rate=0.3), spans(mixture=[Denoiser(0.3)])))
    assert (first.input_ids == second.input_ids).all() and (first.labels == second.labels).all()
    assert Spans(Span(), (FIRST,) * 99, END).card().startswith("span corruption (T5): 15%")
    assert spans(mixture="ul2").card().startswith("span corruption, a mixture of 7 denoisers (UL2)")


def test_windows_of_other_counts_count_by_their_tokens() -> None:
    """As training/packing.py does: nothing of the window is padding, so labels keep their own length."""
    from codeparrot.training.packing import Uneven

    own, windows = spans(mixture="ul2"), np.arange(4 * 64).reshape(4, 64) + 1
    weighed: Any = Uneven(None, 1, END, document_mask=False, kind="encoder-decoder")  # pyright: ignore[reportArgumentType]
    made = own.examples(windows, range(4), 0)
    assert weighed.labelled(made, windows) is made


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"mixture": []}, "objective.mixture is empty; it must be none, ul2, or a list"),
        ({"mixture": "ul3"}, "objective.mixture is ul3; it must be none, ul2, or a list of {rate, mean_span, weight}"),
        ({"mixture": [3]}, "objective.mixture, denoiser 1 is 3; write {rate: 0.15, mean_span: 3}"),
        ({"mixture": [{}, {"mean_spn": 3}]}, 'denoiser 2: there is no "mean_spn"; did you mean "mean_span"'),
        ({"mixture": [{"rate": "x"}]}, "denoiser 1: rate is x; it must be a number"),
        ({"mixture": [{"rate": 1.5}]}, r"objective.mixture, denoiser 1: rate is 1.5; it must be above 0 and below 1"),
        ({"mixture": [{"mean_span": 0.5}]}, r"objective.mixture, denoiser 1: mean_span is 0.5; it must be 0, or at least 1"),
        ({"mixture": [{"weight": 0}]}, r"objective.mixture, denoiser 1: weight is 0; it must be above 0"),
        ({"mixture": [{"span": 1}]}, "objective"),
        ({"mixture": "ul2", "rate": 0.3}, "objective.rate 0.3 has no effect beside objective.mixture; remove one of the two"),
        ({"mixture": "ul2", "mean_span": 8}, "objective.mean_span 8 has no effect beside objective.mixture"),
    ],
)
def test_bad_mixtures_are_one_line(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(CodeparrotError, match=words) as error:
        load_objective({"name": "span", **setting})
    assert "\n" not in str(error.value)


def test_a_list_in_a_file_is_a_mixture() -> None:
    own = load_objective(
        {"name": "span", "mixture": [{"rate": 0.5, "mean_span": 8}, {"rate": 0.25, "mean_span": 0, "weight": 2}]}
    )
    assert own.denoisers == (Denoiser(0.5, 8), Denoiser(0.25, 0, 2))  # pyright: ignore[reportAttributeAccessIssue]


def test_a_denoiser_with_more_spans_than_sentinels_is_named() -> None:
    with pytest.raises(
        CodeparrotError,
        match=r"ul2: mean_span 3 makes 11 spans of 64 tokens, .* 10 sentinels; set stream.seq_length to 62 or less",
    ):
        spans(10, mixture="ul2").lengths(64)

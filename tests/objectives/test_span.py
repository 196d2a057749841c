"""Spans are T5's: exact counts, full windows, sentinels that suffice, and nothing lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from codeparrot.errors import CodeparrotError
from codeparrot.objectives.objective import check_even
from codeparrot.objectives.span import Span, Spans, restored
from codeparrot.stream.sentinels import EXTRA_IDS, MASK

END, FIRST = 0, 1000
"""The id of the end of a text, and that of the first sentinel."""


def spans(count: int = 100, **own) -> Spans:
    return Spans(Span(**own), tuple(range(FIRST + count - 1, FIRST - 1, -1)), END)


def noise_mask_of_flax(length: int, density: float, mean: float, draw: np.random.Generator) -> np.ndarray:
    """The mask of examples/flax/language-modeling/run_t5_mlm_flax.py in transformers 4, written down."""
    num_noise = min(max(int(np.round(length * density)), 1), length - 1)
    num_spans = max(min(int(np.round(num_noise / mean)), length - num_noise), 1)

    def segmentation(num_items: int, num_segments: int) -> np.ndarray:
        mask = np.arange(num_items - 1) < (num_segments - 1)
        draw.shuffle(mask)
        ids = np.cumsum(np.pad(mask, [[1, 0]]))
        return np.unique(ids, return_counts=True)[1]

    lengths = np.stack([segmentation(length - num_noise, num_spans), segmentation(num_noise, num_spans)], 1).reshape(-1)
    starts = np.zeros(length, np.int64)
    starts[np.cumsum(lengths)[:-1]] = 1
    return np.cumsum(starts) % 2 == 1


def mask_of(window: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Return which of the tokens 1, 2, 3, ... of a window are noise."""
    return ~np.isin(window, inputs)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 900), min_size=2, max_size=300),
    st.sampled_from([0.05, 0.15, 0.3, 0.5, 0.9]),
    st.sampled_from([1.0, 2.5, 3.0, 8.0, 64.0]),
    st.integers(0, 9),
)
def test_targets_restore_the_text_and_lengths_depend_on_the_settings_alone(tokens, rate, mean_span, number) -> None:
    window, own = np.array(tokens, np.int64), spans(300, rate=rate, mean_span=mean_span)
    (inputs,), (targets,) = own.examples(window[None], [number], seed=1)
    sizes = own.settings.sizes(len(window))
    assert (len(inputs), len(targets)) == (sizes.inputs, sizes.targets)
    assert len(inputs) + len(targets) == len(window) + 2 * sizes.spans + 2, "nothing is padded"
    used = [each for each in own.sentinels if each in inputs]
    assert tuple(used) == own.sentinels[: sizes.spans], "in their order, from the first"
    assert inputs[inputs >= FIRST].tolist() == targets[targets >= FIRST].tolist() == used
    assert inputs[-1] == targets[-1] == END and targets[0] == own.sentinels[0]
    assert (restored(inputs, targets, own.sentinels) == window).all()


def test_the_sizes_are_t5s() -> None:
    assert Span().sizes(568) == (85, 28, 512, 114)
    assert Span(rate=0.5, mean_span=3).sizes(2) == (1, 1, 3, 3)


def test_a_batch_made_by_hand() -> None:
    own, window = spans(rate=0.4, mean_span=2.0), np.arange(11, 21)
    for number in range(200):
        inputs, targets = own.corrupted(window, str(number))
        if inputs.tolist() == [11, 12, own.sentinels[0], 14, 15, 16, 17, own.sentinels[1], END]:
            assert targets.tolist() == [own.sentinels[0], 13, own.sentinels[1], 18, 19, 20, END]
            break
    else:
        pytest.fail("one of 15 divisions was never drawn")


@pytest.mark.slow
def test_spans_are_distributed_as_those_of_transformers_flax_example() -> None:
    length, count = 40, 4000
    window, own, draw = np.arange(1, length + 1), spans(rate=0.3, mean_span=3.0), np.random.default_rng(0)
    ours = np.stack([mask_of(window, own.corrupted(window, str(number))[0]) for number in range(count)])
    theirs = np.stack([noise_mask_of_flax(length, 0.3, 3.0, draw) for _ in range(count)])
    assert (ours.sum(1) == theirs.sum(1)).all(), "exact counts"

    def starts(masks: np.ndarray) -> np.ndarray:
        return masks & ~np.pad(masks, [(0, 0), (1, 0)])[:, :-1]

    for found, expected in ((ours, theirs), (starts(ours), starts(theirs))):
        # Five standard deviations of the difference of two means, at each of the 40 places.
        bound = 5 * np.sqrt(2 * expected.mean(0).clip(0.01) / count)
        assert (np.abs(found.mean(0) - expected.mean(0)) < bound).all()
    assert (starts(ours).sum(1) == own.settings.sizes(length).spans).all() and (starts(theirs).sum(1) == 4).all()


def test_spans_are_a_function_of_seed_and_number() -> None:
    own, windows = spans(), np.arange(4 * 64).reshape(4, 64) % 900
    whole = own.examples(windows, [5, 6, 7, 8], seed=3)
    for row, number in enumerate((5, 6, 7, 8)):
        alone = own.examples(windows[row : row + 1], [number], seed=3)
        assert (alone.input_ids[0] == whole.input_ids[row]).all() and (alone.labels[0] == whole.labels[row]).all()
    assert (own.examples(windows, [5, 6, 7, 8], seed=4).input_ids != whole.input_ids).any()
    assert (own.examples(windows[:1], [6], seed=3).input_ids != whole.input_ids[:1]).any()
    first, again = own.of_validation(windows[0]), own.of_validation(windows[0].copy())
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    check_even(whole, own.kind)


@settings(deadline=None)
@given(st.lists(st.integers(0, 900), min_size=2, max_size=80), st.integers(0, 3))
def test_with_the_whole_text_as_target_one_mask_stands_for_each_span(tokens, number) -> None:
    window, own = np.array(tokens, np.int64), Spans(Span(rate=0.3, targets="text"), (FIRST,), END)
    inputs, targets = own.corrupted(window, str(number))
    sizes = own.settings.sizes(len(window))
    assert targets.tolist() == [*tokens, END] and len(inputs) == sizes.inputs and len(targets) == sizes.targets
    assert np.count_nonzero(inputs == FIRST) == sizes.spans
    as_t5, _ = spans(rate=0.3).corrupted(window, str(number))
    assert np.where(as_t5 >= FIRST, FIRST, as_t5).tolist() == inputs.tolist(), "the same spans"


def test_more_spans_than_sentinels_are_refused_with_the_value_that_fits() -> None:
    own, window = spans(4), np.arange(100)
    with pytest.raises(
        CodeparrotError, match=r"mean_span 3 makes 5 spans of 100 tokens, .* has 4 sentinels; set it to 3\.8 or more"
    ):
        own.corrupted(window, "x")
    assert len(spans(4, mean_span=3.8).corrupted(window, "x")[0]) == 100 - 15 + 4 + 1
    with pytest.raises(CodeparrotError, match="at least 2 tokens"):
        own.corrupted(window[:1], "x")


def test_tokenizers_without_the_tokens_are_refused_with_the_command_that_makes_them(tokenizer_folder) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    with pytest.raises(CodeparrotError, match="tokenizer train --objectives span`"):
        Span().fitted(tokenizer)
    with pytest.raises(CodeparrotError, match="tokenizer train --objectives masked`"):
        Span(targets="text").fitted(tokenizer)
    tokenizer.add_special_tokens({"mask_token": MASK, "additional_special_tokens": list(EXTRA_IDS)})
    fitted = Span().fitted(tokenizer)
    assert tokenizer.convert_ids_to_tokens(list(fitted.sentinels)) == list(EXTRA_IDS) and fitted.end == tokenizer.eos_token_id
    assert Span(targets="text").fitted(tokenizer).sentinels == (tokenizer.mask_token_id,)


def test_the_card_says_which_spans() -> None:
    assert Span().card() == "span corruption (T5): 15% of the tokens in spans of 3 on average"
    assert "BART" in Span(rate=0.3, targets="text").card()

"""Masked windows are a function of the window, its number and the seed, with the shares that were asked for."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.errors import CodeparrotError
from codeparrot.model import IGNORED
from codeparrot.objectives import load_objective
from codeparrot.objectives.masked import NONE, Masked, Masking
from codeparrot.objectives.objective import fitted, head_share, is_even, kind_trained

MASK, END, SENTINEL, SIZE = 3, 0, 1, 200
NEVER = np.isin(np.arange(SIZE), [END, SENTINEL, 2, MASK])


def masking(units: Any = None, **settings: Any) -> Masking:
    tokens = lambda window: np.where(NEVER[window], NONE, np.arange(len(window)))  # noqa: E731
    return Masking(Masked(**settings), MASK, NEVER, np.flatnonzero(~NEVER), units or tokens)


@st.composite
def windows(draw: st.DrawFn) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    special = draw(st.sampled_from([0.0, 0.2, 1.0]))
    shape = draw(st.integers(1, 5)), draw(st.sampled_from([1, 7, 64, 256]))
    return np.where(rng.random(shape) < special, rng.integers(0, 4, shape), rng.integers(4, SIZE, shape))


@settings(deadline=None)
@given(windows(), st.sampled_from([0.05, 0.15, 0.3, 1.0]), st.integers(0, 5))
def test_labels_are_what_was_there_and_the_rest_stays(tokens, rate, seed) -> None:
    found = masking(rate=rate).examples(tokens, range(len(tokens)), seed)
    predicted = found.labels != IGNORED
    assert (found.labels[predicted] == tokens[predicted]).all() and (found.input_ids[~predicted] == tokens[~predicted]).all()
    assert not NEVER[tokens[predicted]].any()
    new = found.input_ids != tokens
    assert (NEVER[found.input_ids[new]] <= (found.input_ids[new] == MASK)).all()
    maskable = (~NEVER[tokens]).sum(1)
    expected = [max(1, round(rate * count)) if count else 0 for count in maskable]
    assert predicted.sum(1).tolist() == expected


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([(0.8, 0.1), (1.0, 0.0), (0.0, 0.0), (0.4, 0.6)]))
def test_the_shares_are_those_that_were_asked_for(seed, shares) -> None:
    mask_share, random_share = shares
    tokens = np.random.default_rng(seed).integers(4, SIZE, (40, 256))
    found = masking(rate=0.3, mask_share=mask_share, random_share=random_share).examples(tokens, range(40), seed)
    predicted = found.labels != IGNORED
    count = predicted.sum()
    hidden, kept = (found.input_ids == MASK).sum() / count, (predicted & (found.input_ids == tokens)).sum() / count
    spread = 6 / count**0.5 / 2  # six standard deviations
    assert abs(hidden - mask_share) < spread
    assert abs(kept - (1 - mask_share - random_share) - random_share / len(np.flatnonzero(~NEVER))) < spread
    # Each place is as likely as any other.
    assert abs(predicted[:, :128].sum() / count - 0.5) < spread


@settings(deadline=None)
@given(windows(), st.integers(0, 3))
def test_a_window_is_masked_by_its_number_and_the_seed_alone(tokens, seed) -> None:
    own = masking(rate=0.3)
    together = own.examples(tokens, range(len(tokens)), seed)
    for number in reversed(range(len(tokens))):
        alone = own.examples(tokens[number : number + 1], [number], seed)
        assert (alone.input_ids[0] == together.input_ids[number]).all() and (alone.labels[0] == together.labels[number]).all()


def test_another_epoch_or_seed_masks_other_tokens_and_validation_always_the_same() -> None:
    tokens = np.random.default_rng(0).integers(4, SIZE, (1, 256))
    own = masking()
    masks = [own.examples(tokens, [number], seed).labels != IGNORED for number, seed in ((0, 0), (1, 0), (0, 1))]
    assert not (masks[0] == masks[1]).all() and not (masks[0] == masks[2]).all()
    first, again = (own.of_validation(tokens[0]) for _ in range(2))
    assert all((one == other).all() for one, other in zip(first, again, strict=True))


@settings(deadline=None)
@given(windows(), st.integers(0, 5), st.sampled_from([0.1, 0.5]))
def test_units_are_masked_whole_or_not_at_all_and_fare_alike(tokens, seed, rate) -> None:
    def units(window: np.ndarray) -> np.ndarray:
        return np.where(NEVER[window], NONE, np.arange(len(window)) // 3)

    found = masking(units, rate=rate, mask_share=0.5, random_share=0.0).examples(tokens, range(len(tokens)), seed)
    for window, input_ids, labels in zip(tokens, found.input_ids, found.labels, strict=True):
        own = units(window)
        for number in set(own.tolist()) - {NONE}:
            assert (
                len(
                    {
                        (label != IGNORED, ids == MASK)
                        for label, ids in zip(labels[own == number], input_ids[own == number], strict=True)
                    }
                )
                == 1
            )
        maskable, predicted = (own != NONE).sum(), (labels != IGNORED).sum()
        wanted = max(1, round(rate * maskable)) if maskable else 0
        assert wanted <= predicted < wanted + 3 or not maskable


def test_the_settings_say_what_they_are() -> None:
    objective = load_objective({"name": "masked", "rate": 0.3})
    assert objective.card() == "masked language modelling, 30% of the tokens (80% hidden, 10% replaced, 10% kept), by the token"
    assert (kind_trained(objective), is_even(objective), head_share(objective)) == ("masked", False, 0.3)
    assert (kind_trained(load_objective({})), is_even(load_objective({})), head_share(load_objective({}))) == (
        "causal",
        True,
        1.0,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": 0}, "objective.rate is 0.0; it must be above 0 and at most 1"),
        ({"rate": 1.5}, "objective.rate is 1.5; it must be above 0 and at most 1"),
        (
            {"mask_share": 0.9, "random_share": 0.2},
            "are more than all of the predicted tokens; set objective.random_share 0.1 or",
        ),
        ({"unit": "line"}, "objective.unit is line; it must be "),
    ],
)
def test_wrong_settings_are_named(settings, words) -> None:
    with pytest.raises(CodeparrotError, match=words):
        load_objective({"name": "masked", **settings})


def test_a_tokenizer_has_a_mask_token_and_its_special_tokens_stay(tokenizer_folder) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    with pytest.raises(CodeparrotError, match=r"the tokenizer has no mask token; train one that has, .*--objectives masked"):
        fitted(load_objective({"name": "masked"}), tokenizer)
    tokenizer.add_special_tokens({"mask_token": "<mask>", "pad_token": "<pad>"})
    own: Any = fitted(load_objective({"name": "masked"}), tokenizer)
    special = [tokenizer.eos_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id]
    assert own.mask == tokenizer.mask_token_id and np.flatnonzero(own.never).tolist() == sorted(special)
    window = np.array([tokenizer.eos_token_id, 10, 11, tokenizer.pad_token_id])
    assert own.units(window).tolist() == [NONE, 1, 2, NONE]

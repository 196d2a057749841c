"""Edit similarity is that of the longest common subsequence, whatever the texts."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.eval.similarity import edit_similarity, exact_match

TEXTS = st.text(alphabet="ab \n(é", max_size=12)


def longest_common(first: str, second: str) -> int:
    """The textbook's table."""
    row = [0] * (len(second) + 1)
    for left in first:
        before = row[:]
        for index, right in enumerate(second):
            row[index + 1] = before[index] + 1 if left == right else max(row[index], before[index + 1])
    return row[-1]


@given(TEXTS, TEXTS)
def test_it_is_the_share_of_characters_in_the_longest_common_subsequence(first: str, second: str) -> None:
    ours, theirs = first.rstrip(), second.rstrip()
    expected = 2 * longest_common(ours, theirs) / (len(ours) + len(theirs)) if ours + theirs else 1.0
    assert edit_similarity(first, second) == edit_similarity(second, first) == expected
    assert (expected == 1.0) == exact_match(first, second)


@pytest.mark.parametrize(
    ("text", "reference", "similarity"),
    # By rapidfuzz 3.14.6, which also agrees on 20,000 random pairs.
    [("return a + b", "return b + a", 10 / 12), ("kitten", "sitting", 8 / 13), ("x", "y", 0.0), ("", "ab", 0.0), ("", "", 1.0)],
)
def test_values_of_rapidfuzz(text: str, reference: str, similarity: float) -> None:
    assert edit_similarity(text, reference) == pytest.approx(similarity)


def test_white_space_at_the_end_does_not_count_and_indentation_does() -> None:
    assert exact_match("    return x", "    return x\n") and edit_similarity("    return x", "    return x\n") == 1.0
    assert not exact_match("return x", "    return x\n") and edit_similarity("return x", "    return x\n") < 1.0


def test_a_model_that_repeats_itself_costs_no_time() -> None:
    began = time.perf_counter()
    edit_similarity("    x = x\n" * 500, "    y = x\n" * 500)
    assert time.perf_counter() - began < 1.0

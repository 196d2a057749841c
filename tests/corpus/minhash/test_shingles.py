import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.corpus.minhash.shingles import TOKEN, shingles, token_hashes
from tests.corpus.samples import modules

WORDS = st.lists(st.sampled_from(["a", "b", "ab", "_x9", "é", "変数"]), max_size=30)
TEXTS = st.one_of(st.text(), WORDS.map(" ".join), WORDS.map("\n".join))


def spelled(text: str, ngram: int) -> list[tuple[bytes, ...]]:
    """The shingles as tuples of tokens, found by the regular expression."""
    tokens = re.findall(TOKEN, text.encode())
    return [tuple(tokens[i : i + ngram]) for i in range(max(bool(tokens), len(tokens) - ngram + 1))]


@given(TEXTS)
def test_tokens_are_those_of_the_regular_expression(text: str) -> None:
    tokens = re.findall(TOKEN, text.encode())
    hashes = token_hashes(text.encode()).tolist()
    assert len(hashes) == len(tokens)
    assert len(set(zip(tokens, hashes, strict=True))) == len(set(tokens)) == len(set(hashes))


@settings(max_examples=200)
@given(TEXTS, st.integers(1, 6))
def test_shingles_are_equal_where_their_tokens_are(text: str, ngram: int) -> None:
    expected = spelled(text, ngram)
    hashes = shingles(text.encode(), ngram).tolist()
    assert len(hashes) == len(expected)
    assert len(set(zip(expected, hashes, strict=True))) == len(set(expected)) == len(set(hashes))


def test_a_token_has_one_hash_wherever_it_stands_and_however_long_the_text() -> None:
    for length in (*range(1, 70), 1000, 1_000_000):
        name = b"n" * length
        for before in (0, 1, 1000):
            text = b"x" + b" " * before + b" " + name + b" y"
            assert token_hashes(text)[1] == token_hashes(name)[0]


def test_names_that_differ_in_length_or_in_one_letter_have_other_hashes() -> None:
    names = [b"n" * length for length in range(1, 100)]
    names += [bytes([*b"n" * place, ord("m"), *b"n" * (40 - place)]) for place in range(41)]
    assert len(set(token_hashes(b" ".join(names)).tolist())) == len(names)


def test_the_shingles_of_real_modules_do_not_collide() -> None:
    texts = modules(40)
    expected = {shingle for text in texts for shingle in spelled(text.decode(), 5)}
    hashes = np.unique(np.concatenate([shingles(text, 5) for text in texts]))
    assert len(hashes) == len(expected) > 20_000


def test_shingles_are_the_same_in_every_process_and_release() -> None:
    assert shingles(b"def f(x): return x + 1", 5).tolist() == shingles(b"def f ( x ) :\n return x + 1\n", 5).tolist()
    assert shingles(b"one two " + b"x" * 20 + b" " + b"y" * 40, 3).tolist() == FROZEN


FROZEN = [7456913457210423154, 2682390003940081065]

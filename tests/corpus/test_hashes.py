import os
import subprocess
import sys

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.hashes import POSITIONS, fingerprint, position

PROGRAM = "from codeparrot.corpus.hashes import *; print(position(1, 'repo', 'a.py'), fingerprint('a b').hex())"


def test_hashes_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    outputs = {
        subprocess.check_output([sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONHASHSEED": seed}, text=True)
        for seed in ("0", "1", "random")
    }
    assert outputs == {"13370233692556475253 89c65ebc828eebaca873719c24d5735c\n"}


@given(st.integers(), st.text(), st.text())
def test_a_position_depends_on_the_seed_and_on_every_name(seed: int, repo_name: str, path: str) -> None:
    place = position(seed, repo_name, path)
    assert 0 <= place < POSITIONS
    assert len({place, position(seed + 1, repo_name, path), position(seed, repo_name, path + "x")}) == 3


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Z", "Cc"]), min_size=1), min_size=1), st.data())
def test_texts_that_differ_in_white_space_only_have_one_fingerprint(words: list[str], data: st.DataObject) -> None:
    spaces = data.draw(st.lists(st.sampled_from([" ", "\n", "\r\n\t", "\u2003"]), min_size=len(words), max_size=len(words)))
    spread = "".join(word + space for word, space in zip(words, spaces, strict=True))
    assert fingerprint(spread) == fingerprint("".join(words))


@given(st.text(st.characters(max_codepoint=127)))
def test_white_space_is_the_same_in_ascii_and_in_other_texts(text: str) -> None:
    assert fingerprint(text) == xxhash.xxh3_128_digest("".join(text.split()).encode())


def test_texts_that_differ_otherwise_have_different_fingerprints() -> None:
    assert fingerprint("a = 1") != fingerprint("a = 2")

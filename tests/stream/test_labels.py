"""Each token of a validation set is counted for the language of its document, wherever windows are cut."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeparrot.config import StreamConfig
from codeparrot.stream import load_validation_set
from codeparrot.stream.labels import MOST_LANGUAGES, OTHER, languages_to_measure
from tests.stream.bytes_encoder import BytesEncoder
from tests.stream.test_by_language import NAMES, text, write


def read(folder: Path, lanes: int = 1, **how: Any):
    stream = StreamConfig(valid=str(folder), seq_length=16, lanes=lanes)
    return load_validation_set(stream, BytesEncoder(), split="train", **how)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    letters=st.lists(st.sampled_from("pprrgn"), min_size=3, max_size=40),
    form=st.sampled_from(["parquet", "jsonl"]),
    column=st.sampled_from(["language", "lang"]),
    files=st.integers(1, 4),
    lanes=st.integers(1, 3),
)
def test_the_languages_of_tokens_are_those_of_their_documents_and_change_no_window(
    tmp_path_factory, letters, form, column, files, lanes
) -> None:
    folder = write(tmp_path_factory.mktemp("valid"), letters, form, files, column=column)
    plain, labelled = read(folder, lanes), read(folder, lanes, by_language=True)
    assert [window.tolist() for window in plain.windows] == [window.tolist() for window in labelled.windows]
    assert plain.lanes == labelled.lanes and not plain.languages
    named = labelled.named(names := sorted(set(map(NAMES.__getitem__, letters))))
    # A document begins with its letter, spells it behind a number, and ends with the end token.
    first, found = 0, Counter()
    for count in named.lanes.values():
        windows, codes = named.windows[first : first + count], named.languages[first : first + count]
        tokens, of = (np.concatenate(each) if each else np.empty(0, int) for each in (windows, codes))
        document: list[int] = []
        for token, code in zip(tokens.tolist(), of.tolist(), strict=True):
            document.append(code)
            if token == 256:
                assert len(set(document)) == 1
                document = []
        for index in np.flatnonzero(tokens < 256):
            if chr(tokens[index]) in NAMES:
                assert names[of[index]] == NAMES[chr(tokens[index])]
        found.update(of.tolist())
        first += count
    wanted = Counter()
    for number, letter in enumerate(letters):
        wanted[names.index(NAMES[letter])] += len(text(letter, number)) + 1
    assert found == wanted
    sample = named.sample(2)
    pairs = {
        (tuple(window.tolist()), tuple(code.tolist())) for window, code in zip(named.windows, named.languages, strict=True)
    }
    assert all((tuple(a.tolist()), tuple(b.tolist())) in pairs for a, b in zip(sample.windows, sample.languages, strict=True))


def test_processes_together_have_the_languages_of_one(tmp_path) -> None:
    folder = write(tmp_path / "v", "pprrgppprrnp" * 4, files=3)
    alone = read(folder, 4, by_language=True)
    parts = [read(folder, 4, by_language=True, rank=rank, world_size=2) for rank in range(2)]
    total = sum((Counter(part.tokens_by_language) for part in parts), Counter())
    assert total == Counter(alone.tokens_by_language) and total.total() == alone.num_predicted
    assert languages_to_measure([part.tokens_by_language for part in parts]) == languages_to_measure([total])


def test_data_without_the_column_have_no_languages(tmp_path) -> None:
    for form in ("parquet", "jsonl"):
        found = read(write(tmp_path / form, "prpr", form, column="tongue"), by_language=True)
        assert found.names == [] and found.languages == [] and found.named([]).tokens_by_language == {}


def test_few_languages_are_measured_by_name_and_the_others_together() -> None:
    assert languages_to_measure([{"python": 5}, {"python": 2}]) == languages_to_measure([{}]) == []
    assert languages_to_measure([{"go": 1}, {"python": 5, "go": 1}]) == ["python", "go"]
    many = {f"l{number:02d}": 100 - number for number in range(MOST_LANGUAGES + 3)}
    assert languages_to_measure([many]) == [*list(many)[:MOST_LANGUAGES], OTHER]


def test_a_row_without_the_column_is_in_no_known_language(tmp_path) -> None:
    rows = [{"content": "p1 ppp", "language": "Python"}, {"content": "n1 nnn"}, {"content": "r1 rr", "language": 3}]
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read(tmp_path / "v.jsonl", by_language=True)
    assert found.tokens_by_language == {"python": 6, "unknown": 12}

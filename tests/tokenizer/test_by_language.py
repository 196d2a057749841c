"""The report of tokenizers by language: known figures of a tokenizer of bytes, and every keyword of the table."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codeparrot.languages.keywords import KEYWORDS
from codeparrot.languages.names import LANGUAGES
from codeparrot.tokenizer.report import report
from codeparrot.tokenizer.sample import sample
from codeparrot.tokenizer.train import train

ROWS = [
    {
        "content": f"fn f{n}() -> u8 {{ {n} }}\n" if n % 3 else f"def f{n}():\n    return {n}\n",
        "language": "Rust" if n % 3 else "Python",
    }
    for n in range(30)
] + [{"content": "COBOL code\n", "language": "COBOL"}]


@pytest.fixture(scope="module")
def bytes_folder(tmp_path_factory, corpus) -> str:
    """A tokenizer that knows nothing but bytes: every figure about it is known."""
    folder = tmp_path_factory.mktemp("bytes") / "tokenizer"
    train(str(corpus), str(folder), vocab_size=257, sample_bytes=50_000, sentinels=False)
    return str(folder)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_each_language_is_measured_on_its_own_documents(tmp_path, bytes_folder, form) -> None:
    file = tmp_path / f"corpus.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file, row_group_size=7)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    result = report(bytes_folder, str(file), baseline="")
    rust, python, cobol = result.data["tokenizers"][0]["languages"]
    assert [(each["language"], each["documents"]) for each in (rust, python, cobol)] == [
        ("rust", 20),
        ("python", 10),
        ("cobol", 1),
    ]
    texts = [row["content"] for row in ROWS if row["language"] == "Rust"]
    assert rust["num_bytes"] == sum(map(len, texts)) and rust["bytes_per_token"] == 1.0
    words = [word for text in texts for word in re.findall(r" ?\S+", text)]
    assert rust["tokens_per_word"] == pytest.approx(sum(map(len, words)) / len(words))
    names = [name for text in texts for name in re.findall(r" ?[^\W\d]\w*", text) if name != "fn"]
    assert rust["tokens_per_identifier"] == pytest.approx(sum(map(len, names)) / len(names))
    assert rust["missing_keywords"] == [prefix + word for word in KEYWORDS["rust"] for prefix in ("", " ")]
    assert cobol["missing_keywords"] is None and "keywords not known" in result.text
    assert f"{len(KEYWORDS['rust'])} of {len(KEYWORDS['rust'])}: as async" in result.text


def test_a_corpus_without_the_column_has_no_table_by_language(tmp_path, bytes_folder) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text(json.dumps({"content": "def f(): pass"}) + "\n", encoding="utf-8")
    result = report(bytes_folder, str(file), baseline="")
    assert result.data["tokenizers"][0]["languages"] == [] and "keywords not one token" not in result.text


def test_a_sample_is_the_same_with_and_without_languages(tmp_path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    plain, named = (sample([str(file)], "content", 300, languages=each) for each in (False, True))
    assert list(plain) == list(named) == [text for _, text in named.with_languages()]
    assert {language for language, _ in plain.with_languages()} == {None}


def test_keywords_are_those_of_languages_that_have_a_name_each_once() -> None:
    assert len(KEYWORDS) == 20 and set(KEYWORDS) <= set(LANGUAGES)
    for words in KEYWORDS.values():
        assert len(words) == len(set(words)) >= 20 and all(word == word.strip() for word in words)

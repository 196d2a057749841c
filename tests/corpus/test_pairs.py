"""`codeparrot corpus pairs`: which functions become pairs, and the data set of them."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from codeparrot.cli import main
from codeparrot.corpus.hashes import fingerprint
from codeparrot.corpus.pairs.choosing import Limits, chosen
from codeparrot.corpus.pairs.command import pairs
from codeparrot.corpus.sentences import first_sentence
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import digests, make, read, write_repositories

LIMITS = Limits(min_words=3, min_statements=2, max_characters=1000)


def outcomes(text: str, path: str = "src/a.py") -> list[tuple[str, str]]:
    """The reason and the name of each function of a file."""
    document = {"repo_name": "owner/a", "path": path, "license": "MIT", "content": textwrap.dedent(text)}
    return [(reason, pair.get("name", "")) for reason, pair in chosen(document, LIMITS)]


def function(docstring: str, name: str = "read", body: str = "a = 1\n    return a") -> str:
    return f'def {name}(path):\n    """{docstring}"""\n    {body}\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (function("Read all of a table."), ""),
        (function("Read Gödel's whole collected works."), ""),
        ("def read(path):\n    a = 1\n    return a", "no_docstring"),
        (function("", "read"), "no_docstring"),
        (function("Read all of a table.", "test_read"), "test"),
        (function("Read all of a table.", "setUp"), "test"),
        (function("Read all of a table.", "__getitem__"), "special"),
        (function(":param path: where it is"), "no_description"),
        (function("\n    Args:\n        path: where it is.\n    "), "no_description"),
        (function(">>> read(1)\n    1"), "no_description"),
        (function("Read it."), "short_description"),
        (function("Liest die ganze Tabelle."), ""),  # a to z: languages are not told apart
        (function("Читает всю таблицу."), "not_english"),
        (function("读取 整个 表格 内容"), "not_english"),
        (function("Read all of a table. \\ud800"), "not_english"),
        (function("Read all of a table.", body="pass"), "trivial"),
        (function("Read all of a table.", body="return path"), "trivial"),
        (function("Read all of a table.", body=f"a = '{'x' * 1000}'\n    return a"), "long"),
        ("def read(:", "syntax"),
    ],
)
def test_a_function_is_left_out_for_a_reason(text: str, reason: str) -> None:
    ((found, _),) = outcomes(text)
    assert found == reason
    assert not reason or reason in LIMITS.rules()


def test_the_first_rule_in_the_order_of_the_card_counts() -> None:
    """Of two rules that a function breaks, `rules` has the one that removes it first."""
    both = {
        ("test", "special"): function("Read it.", "__test__").replace("def", "class Test:\n  def"),
        ("short_description", "not_english"): function("Читает"),
        ("not_english", "long"): function("Читает всю таблицу.", body=f"a = '{'x' * 1000}'\n    return a"),
        ("long", "trivial"): function("Read all of a table.", body=f"return '{'x' * 1000}'"),
    }
    order = list(LIMITS.rules())
    for reasons, text in both.items():
        ((found, _),) = outcomes(text)
        assert found == min(reasons, key=order.index), reasons


@pytest.mark.parametrize("path", ["tests/a.py", "pkg/test/a.py", "test_a.py", "a/b_test.py", "conftest.py"])
def test_functions_of_test_files_are_tests(path: str) -> None:
    assert outcomes(function("Read all of a table."), path)[0][0] == "test"


def test_a_pair_holds_the_code_without_its_docstring_and_where_it_is_from() -> None:
    text = textwrap.dedent(
        '''
        class Reader:
            @cached
            def read(self,
                     path: str):
                """Read a
                table.  More.
                """
                a = 1
                return a
        '''
    )
    document = {"repo_name": "owner/a", "path": "src/a.py", "license": "MIT", "content": text}
    ((_, pair),) = chosen(document, LIMITS)
    assert pair == {
        **{"repo_name": "owner/a", "path": "src/a.py", "license": "MIT", "line": 3, "name": "Reader.read"},
        "signature": "def read(self, path: str):",
        "docstring": "Read a\ntable.  More.",
        "summary": "Read a table.",
        "content": (content := "@cached\ndef read(self,\n         path: str):\n    a = 1\n    return a"),
        "size": len(content),
    }


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Read a table. Then more.", "Read a table."),
        ("Read a\n  table\n\nMore.", "Read a table"),
        ("Read e.g. a table, i.e. rows etc. in order. More.", "Read e.g. a table, i.e. rows etc. in order."),
        ("Read version 1.2 of it! More", "Read version 1.2 of it!"),
        ("Return the sine of x. Raises nothing else here.", "Return the sine of x."),
        ("Say whether the answer is no. Then more.", "Say whether the answer is no."),
        ("Sort as J. Smith does, E.g. by name. More.", "Sort as J. Smith does, E.g. by name."),
        ('Say "read it." Then more.', 'Say "read it."'),
        ("Read a table\n:param path: where.", "Read a table"),
        ("Read a table\nParameters\n----------\npath", "Read a table"),
        ("Read a table\n============\nMore.", "Read a table"),
        ("Returns the table. More.", "Returns the table."),
        ("Returns:\n  a table", ""),
        ("", ""),
    ],
)
def test_the_first_sentence(docstring: str, sentence: str) -> None:
    assert first_sentence(docstring) == sentence


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose valid split has a function that is in train, and one that is there twice."""
    root = write_repositories(tmp_path_factory.mktemp("raw"), repositories=12, files=2)
    filling = "\n".join(f"value_{number} = {number}" for number in range(100))
    for index, repository in enumerate(sorted(root.iterdir())):
        shared = function("Read all of a shared table.", "shared")
        text = f"{shared}\n\n{function('Read all of this one.', f'own_{index}')}\n\nname_{index} = {index}\n{filling}\n"
        (repository / "src" / "shared.py").write_text(text.replace("value_", f"value_{index}_" * 5))
    output = tmp_path_factory.mktemp("corpus") / "corpus"
    make(root, output, valid_fraction=0.2)
    return output


@pytest.fixture(scope="module")
def data_set(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("pairs") / "pairs"
    return output, pairs(str(corpus), str(output), workers=1).data


def test_the_splits_are_those_of_the_corpus_and_share_no_code(corpus: Path, data_set: tuple[Path, dict[str, Any]]) -> None:
    output, _ = data_set
    codes = {split: [fingerprint(row["content"]) for row in read(output, split)] for split in ("train", "valid")}
    assert codes["train"] and codes["valid"]
    assert len({*codes["train"], *codes["valid"]}) == len(codes["train"]) + len(codes["valid"])
    for split in codes:
        assert {row["repo_name"] for row in read(output, split)} <= {row["repo_name"] for row in read(corpus, split)}
    # Of a function in both splits, the one in valid stays.
    assert [row["name"] for row in read(output) if row["name"] == "shared"] == ["shared"]
    assert "shared" in {row["name"] for row in read(output, "valid")}


def test_the_counts_are_those_of_the_files(data_set: tuple[Path, dict[str, Any]]) -> None:
    output, facts = data_set
    rows = read(output)
    assert facts["documents"] == len(rows) == sum(split["documents"] for split in facts["splits"].values())
    assert facts["bytes"] == sum(row["size"] for row in rows) == sum(len(row["content"].encode()) for row in rows)
    removed = {name: each["count"] for name, each in facts["pairs"]["removed"].items()}
    assert facts["pairs"]["functions"] == len(rows) + sum(removed.values()) - removed["syntax"]
    assert removed["duplicate"] >= 11
    assert sum(each["documents"] for each in facts["licenses"].values()) == len(rows)
    assert json.loads((output / "statistics.json").read_text()) == {k: v for k, v in facts.items() if k != "output"}


def test_the_card_loads_and_says_what_was_left_out(data_set: tuple[Path, dict[str, Any]]) -> None:
    output, facts = data_set
    text = (output / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert [each["path"] for each in head["configs"][0]["data_files"]] == ["train-*.parquet", "valid-*.parquet"]
    assert "| summary | its first sentence, in one line |" in text
    assert f"| no_docstring | {facts['pairs']['removed']['no_docstring']['count']:,} |" in text


@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(corpus: Path, data_set: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    pairs(str(corpus), str(tmp_path / "pairs"), workers=2)
    assert digests(tmp_path / "pairs") == digests(data_set[0])


def test_the_pairs_are_a_corpus_that_can_be_pushed(data_set: tuple[Path, dict[str, Any]]) -> None:
    from codeparrot.corpus.report.reading import check_shards, read_statistics

    check_shards(data_set[0], read_statistics(data_set[0]))


@pytest.mark.slow
def test_the_command_prints_the_counts(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["corpus", "pairs", "--corpus", str(corpus), "--output", str(tmp_path / "pairs"), "--workers", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "pairs (train" in printed and "no_docstring" in printed and "duplicate" in printed
    assert main(arguments) == 1
    assert "--overwrite true" in capsys.readouterr().err


@pytest.mark.slow
def test_what_cannot_be_read_leaves_nothing_behind(corpus: Path, tmp_path: Path, data_set: tuple[Path, Any]) -> None:
    with pytest.raises(CodeparrotError, match="holds pairs already"):
        pairs(str(data_set[0]), str(tmp_path / "again"))
    with pytest.raises(CodeparrotError, match="not a corpus"):
        pairs(str(tmp_path), str(tmp_path / "again"))
    with pytest.raises(CodeparrotError, match="none of its"):
        pairs(str(corpus), str(tmp_path / "again"), min_words=1000, workers=1)
    assert list(tmp_path.iterdir()) == []

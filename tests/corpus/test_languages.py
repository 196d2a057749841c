"""A corpus of several languages: what is read, what is kept, and what is said about it."""

import io
import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from codeparrot.cli import main
from codeparrot.corpus.cluster.executor import ClusterSettings
from codeparrot.corpus.documents import LANGUAGE
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.report.card import LANGUAGES_SHOWN
from codeparrot.corpus.report.command import summary
from codeparrot.corpus.report.pictures import bytes_left, stages_of
from codeparrot.corpus.sources import installed
from codeparrot.errors import CodeparrotError
from codeparrot.languages.detect import language_of
from tests.corpus.cluster.test_cluster import OneMachine, on_ray
from tests.corpus.samples import LENIENT, digests, make, read
from tests.corpus.sources.test_git import repository
from tests.languages.planted import PLANTED, write

__all__ = ["on_ray"]
NO_NEAR: Any = {"near_duplicates": NearDuplicates(threshold=0), "filters": LENIENT, "valid_fraction": 0}
DATA = {"json", "yaml", "xml"}
NAMED = [each for each in PLANTED if not each.path.startswith(("bin/", "completions/", "include/", "settings/", "Dockerfile."))]
"""Those that a name gives away: others are not opened in folders."""


def kept(corpus: Path) -> Counter[str]:
    return Counter(document[LANGUAGE] for document in read(corpus))


def rows(file: Path, *found: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mixed") / "raw")


def test_all_reads_every_language_by_its_names_but_no_data(mixed: Path, tmp_path: Path) -> None:
    statistics = make(mixed, tmp_path / "corpus", languages=("all",), **NO_NEAR)
    assert kept(tmp_path / "corpus") == Counter(each.language for each in NAMED if each.language not in DATA) - Counter(
        {"perl": 1}  # twice the same text
    )
    assert statistics["removed"]["language"]["files"] == 1  # the XML that ends in .ts
    assert statistics["settings"]["languages"] == ["all"]


def test_named_languages_are_kept_and_others_are_counted(mixed: Path, tmp_path: Path) -> None:
    statistics = make(mixed, tmp_path / "corpus", languages=("cpp", "Rust", "json"), **NO_NEAR)
    assert kept(tmp_path / "corpus") == {"c++": 2, "rust": 1, "json": 1}
    assert statistics["languages"]["c"]["removed"] == {"language": {"files": 1, "bytes": len(PLANTED[0].text)}}
    assert statistics["read"]["files"] == 6


def test_suffixes_decide_what_is_read_where_they_are_given(mixed: Path, tmp_path: Path) -> None:
    statistics = make(mixed, tmp_path / "corpus", languages=("rust", "c"), suffixes=(".rs", ".go"), **NO_NEAR)
    assert kept(tmp_path / "corpus") == {"rust": 1} and statistics["read"]["files"] == 2


def test_without_languages_only_python_is_read_and_nothing_is_removed_for_its_language(mixed: Path, tmp_path: Path) -> None:
    make(mixed, tmp_path / "usual", **NO_NEAR)
    assert [(each["path"], each[LANGUAGE]) for each in read(tmp_path / "usual")] == [("queue.py", "python")]
    statistics = make(mixed, tmp_path / "corpus", suffixes=(".py", ".rs", ".txt"), **NO_NEAR)
    assert kept(tmp_path / "corpus") == {"python": 1, "rust": 1, "cmake": 1} and "language" not in statistics["removed"]


def test_repositories_and_archives_obey(tmp_path: Path) -> None:
    files = {"Makefile": "all:\n\techo\n", "a.rs": "fn main() {}\n", "b.py": "x = 1\n", "c.json": "{}\n"}
    repository(tmp_path / "project", files)
    with tarfile.open(tmp_path / "a-1.tar", "w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"a-1/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    for number, source in enumerate((f"git:{tmp_path / 'project'}", f"archives:{tmp_path / 'a-1.tar'}")):
        make(source, tmp_path / f"{number}", languages=("rust", "makefile"), **NO_NEAR)
        assert kept(tmp_path / f"{number}") == {"rust": 1, "makefile": 1}


def test_installed_packages_obey(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "a.py").write_text("x = 1\n")
    (tmp_path / "library" / "a.js").write_text("let x = 1;\n")
    monkeypatch.setattr(installed.sysconfig, "get_path", lambda _: str(tmp_path / "library"))
    monkeypatch.setattr(installed, "_installed", list)
    for languages, expected in (((), {"python": 1}), (("javascript",), {"javascript": 1})):
        make("python", tmp_path / f"{len(languages)}", languages=languages, **NO_NEAR)
        assert kept(tmp_path / f"{len(languages)}") == expected


def test_the_word_of_a_table_goes_before_the_name_unless_nobody_knows_it(tmp_path: Path) -> None:
    source = rows(
        tmp_path / "rows.jsonl",
        {"content": "a = 1", "path": "a.py", "lang": "Rust"},
        {"content": "b = 1", "path": "b.py", "lang": "English"},
        {"content": "c = 1", "path": "c.qqq", "lang": "Red Code"},
        {"content": "d = 1", "path": "d.c"},
        {"content": "e = 1"},
    )
    make(source, tmp_path / "corpus", **NO_NEAR)
    found = {document["content"][0]: document[LANGUAGE] for document in read(tmp_path / "corpus")}
    assert found == {"a": "rust", "b": "python", "c": "red-code", "d": "c", "e": "unknown"}
    make(source, tmp_path / "all", languages=("all",), **NO_NEAR)
    assert kept(tmp_path / "all") == kept(tmp_path / "corpus")
    statistics = make(source, tmp_path / "some", languages=("c", "rust"), **NO_NEAR)
    assert kept(tmp_path / "some") == {"rust": 1, "c": 1} and statistics["languages"]["unknown"]["documents"] == 0


def test_an_unknown_name_is_refused_with_the_nearest_before_anything_is_read(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(CodeparrotError, match='no language "pyhton"; did you mean "python"'):
        make(tmp_path / "nothing", tmp_path / "corpus", languages=("pyhton",))
    command = ["corpus", "build", "--source", "x", "--output", str(tmp_path / "corpus"), "--languages", "c", "pyhton"]
    assert main(command) == 1
    assert 'did you mean "python"' in capsys.readouterr().err


def test_counts_by_language_add_up_to_those_of_the_corpus(mixed: Path, tmp_path: Path) -> None:
    statistics = make(mixed, tmp_path / "corpus", languages=("all",), filters=LENIENT)
    shares = statistics["languages"]
    for name in ("documents", "bytes", "characters"):
        assert sum(each[name] for each in shares.values()) == statistics[name]
    for name in ("files", "bytes"):
        assert sum(each["read"][name] for each in shares.values()) == statistics["read"][name]
        for reason, removed in statistics["removed"].items():
            assert sum(each["removed"].get(reason, {name: 0})[name] for each in shares.values()) == removed[name]
    stages = stages_of(statistics)
    left = [bytes_left(each, stages) for each in shares.values()]
    assert [sum(each) for each in zip(*left, strict=True)] == [stage["bytes"] for stage in stages]


def test_card_and_report_say_what_there_is_of_each(mixed: Path, tmp_path: Path, capsys: Any) -> None:
    statistics = make(mixed, tmp_path / "corpus", languages=("all",), **NO_NEAR)
    printed = summary("data/corpus", statistics)
    assert "languages, left of what was read:" in printed and any(line.split()[:1] == ["c++"] for line in printed)
    card = (tmp_path / "corpus" / "README.md").read_text(encoding="utf-8")
    assert "## Languages" in card and "| c++ | 2 |" in card and "languages.png" in card
    page = tmp_path / "page.html"
    assert main(["corpus", "report", "--corpus", str(tmp_path / "corpus"), "--html", str(page)]) == 0
    assert "languages, left of what was read:" in capsys.readouterr().out
    assert "<h2>Languages</h2>" in page.read_text(encoding="utf-8")
    assert main(["corpus", "report", "--corpus", str(tmp_path / "corpus"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["by_language"]["c++"]["documents"] == 2 and report["languages"][".rs"]["documents"] == 1


def test_a_corpus_of_an_older_version_without_the_column_is_read(mixed: Path, tmp_path: Path, capsys: Any) -> None:
    corpus = tmp_path / "corpus"
    make(mixed, corpus, languages=("all",), **NO_NEAR)
    for shard in corpus.glob("*.parquet"):
        pq.write_table(pq.read_table(shard).drop_columns([LANGUAGE]), shard)
    statistics = json.loads((corpus / "statistics.json").read_text())
    del statistics["languages"], statistics["settings"]["languages"]
    (corpus / "statistics.json").write_text(json.dumps(statistics))
    assert main(["corpus", "report", "--corpus", str(corpus), "--html", str(tmp_path / "page.html")]) == 0
    assert "languages, left of what was read: not recorded" in capsys.readouterr().out


@pytest.mark.slow
def test_a_mixed_corpus_has_the_same_bytes_with_every_executor(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_ray: Any
) -> None:
    settings: Any = {"languages": ("all", "json"), "filters": LENIENT, "near_duplicates": NearDuplicates(permutations=16)}
    make(mixed, tmp_path / "one" / "corpus", **settings)
    expected = digests(tmp_path / "one" / "corpus")
    make(mixed, tmp_path / "two" / "corpus", **settings, workers=2)
    assert digests(tmp_path / "two" / "corpus") == expected
    on_ray(mixed, tmp_path / "ray" / "corpus", cluster=ClusterSettings(jobs=2, memory=1), **settings)
    assert digests(tmp_path / "ray" / "corpus") == expected
    monkeypatch.setattr("codeparrot.corpus.build.Cluster", lambda *_: OneMachine())
    make(mixed, tmp_path / "steps" / "corpus", executor="slurm", cluster=ClusterSettings(partition="x"), **settings)
    assert digests(tmp_path / "steps" / "corpus") == expected


@pytest.mark.slow
def test_a_word_that_cannot_be_printed_names_no_language(tmp_path: Path) -> None:
    table = rows(
        tmp_path / "rows.jsonl",
        {"content": "a = 1\n" * 9, "path": "0", "language": "x\n## y"},
        {"content": "b = 2\n" * 9, "path": "1", "language": "\x1b[31mred"},
        {"content": "c = 3\n" * 9, "path": "2", "language": " Brand New\n"},
    )
    make(table, tmp_path / "corpus", **NO_NEAR)
    assert kept(tmp_path / "corpus") == {"unknown": 2, "brand-new": 1}


@pytest.mark.slow
def test_a_card_lists_some_of_many_languages(tmp_path: Path) -> None:
    found = ({"content": f"a = {number}\n" * 9, "path": str(number), "language": f"own {number}"} for number in range(100))
    judged = {**NO_NEAR, "filters": replace(LENIENT, check_syntax=True)}
    make(rows(tmp_path / "rows.jsonl", *found), tmp_path / "corpus", **judged)
    card = (tmp_path / "corpus" / "README.md").read_text(encoding="utf-8")
    assert all(line.count("own-") <= LANGUAGES_SHOWN for line in card.splitlines())
    assert f"{100 - LANGUAGES_SHOWN} more |" in card


def test_rows_without_a_path_are_pythons_where_no_languages_are_named(tmp_path: Path) -> None:
    """As in older versions. Lines alone are no word on the language there, and secrets are those of Python."""
    setting = "DB_PASSWORD = load_S3cret_8271"
    lines = "all: build\n\ngcc -o $@ $<\n" + "clean:\n\trm -f *.o\n" * 5 + f"{setting}\n"
    assert language_of("0", lines) == "makefile"
    table = rows(tmp_path / "rows.jsonl", {"content": lines})
    statistics = make(table, tmp_path / "plain", **NO_NEAR)
    assert list(statistics["languages"]) == ["unknown"] and setting in read(tmp_path / "plain")[0]["content"]
    statistics = make(table, tmp_path / "named", languages=("all",), **NO_NEAR)
    assert list(statistics["languages"]) == ["makefile"] and setting not in read(tmp_path / "named")[0]["content"]

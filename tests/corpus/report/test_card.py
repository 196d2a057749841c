import json
import re
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

from codeparrot.corpus.documents import COLUMNS
from codeparrot.corpus.report.card import card, pictures
from codeparrot.corpus.report.pictures import document_sizes, line_lengths, stages_of
from tests.corpus.recorded import HOSTILE, write_recorded
from tests.corpus.samples import read


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recorded(tmp_path_factory.mktemp("card"))


@pytest.fixture
def statistics(corpus: Path) -> dict[str, Any]:
    return json.loads((corpus / "statistics.json").read_text())


def section(text: str, title: str) -> str:
    return re.split(r"^## ", text.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


def test_the_card_has_the_stages_in_their_order_with_files_and_bytes(statistics: dict[str, Any]) -> None:
    text = section(card(statistics, "corpus"), "From the sources to the corpus")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == [stage["stage"] for stage in statistics["waterfall"]]
    for row, stage in zip(rows, statistics["waterfall"], strict=True):
        counts = [stage[name] for name in ("removed_files", "removed_bytes", "files", "bytes")]
        assert row[1:] == [*(f"{count:,}" for count in counts), stage["rule"]]


def test_the_shares_of_the_licences_are_those_of_their_bytes(statistics: dict[str, Any]) -> None:
    size = statistics["bytes"]
    statistics["licenses"] = {
        "MIT": {"documents": 40, "bytes": size * 3 // 4},
        "Apache-2.0": {"documents": 20, "bytes": size // 4},
    }
    text = card(statistics, "corpus")
    assert f"| MIT | 40 | {size * 3 // 4:,} | 75.0% |" in section(text, "Licences")
    assert yaml.safe_load(text.split("---")[1])["license"] == ["apache-2.0", "mit"]


def test_the_card_says_what_was_done_about_licences_people_and_benchmarks(statistics: dict[str, Any]) -> None:
    statistics["settings"]["licenses"] = {"allow": ["permissive", "MPL-2.0"], "unknown": "remove", "opt_out": "list.txt"}
    text = card(statistics, "corpus")
    assert "Allowed: permissive, MPL-2.0. Files whose licence nobody declares are removed." in text
    assert "owners who opted out were removed" in section(text, "Licences")
    assert "| email | 12 |" in section(text, "Personal data and secrets")
    assert "replaced by placeholders; 9 files" in section(text, "Personal data and secrets")
    assert "| humaneval | docstring | 2 |" in section(text, "Decontamination")


def test_the_card_says_what_was_not_done(statistics: dict[str, Any]) -> None:
    for name in ("secrets", "contamination", "near_duplicates"):
        del statistics[name]
        statistics["settings"].pop(name, None)
    statistics["settings"].pop("licenses", None)
    text = card(statistics, "corpus")
    assert "neither looked for nor removed" in section(text, "Personal data and secrets")
    assert "not compared with any benchmark" in section(text, "Decontamination")
    assert "neither removed for their licence nor by an opt-out list" in section(text, "Licences")
    assert "MinHash" not in text


def test_a_benchmark_that_was_not_found_was_compared(statistics: dict[str, Any]) -> None:
    statistics["settings"]["contamination"] = {"benchmarks": ["mbpp"]}
    statistics["contamination"] = {"files": 0, "benchmarks": {}, "hits": []}
    statistics["settings"]["secrets"] = {"mode": "redact"}
    statistics["secrets"] = {"files": 0, "kinds": {}}
    text = card(statistics, "corpus")
    assert "| mbpp |  | 0 |" in section(text, "Decontamination")
    assert "0 files held some" in section(text, "Personal data and secrets")


def test_sources_are_named_with_their_revisions(statistics: dict[str, Any]) -> None:
    repositories = [{"name": f"me/repo{number}", "commit": f"{number:040x}"} for number in range(60)]
    statistics["sources"] = [{"source": "git:repos", "kind": "git", "revision": "HEAD", "repositories": repositories}]
    text = section(card(statistics, "corpus"), "Sources")
    assert f"| me/repo7 | {7:040x} |" in text and "and 10 more" in text


def test_names_cannot_write_into_the_card(statistics: dict[str, Any]) -> None:
    statistics["licenses"] = {f"{HOSTILE}|[x](javascript:alert(1))": {"documents": 60, "bytes": statistics["bytes"]}}
    statistics["splits"]["valid"]["repository_names"] = ["a\n\n# Title", "<script>"]
    statistics["sources"][0]["source"] = "<b>x</b>"
    text = card(statistics, f"# {HOSTILE}")
    body = text.split("---", 2)[2]
    assert not re.search(r"<(?!/?details)", body.replace("&lt;", "")) and "\x1b" not in text
    assert "\n# Title" not in text and "[x](" not in body.replace("\\[x\\](", "")


def test_settings_on_the_card_are_those_of_the_build(statistics: dict[str, Any]) -> None:
    text = section(card(statistics, "corpus"), "To build it again")
    assert yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0]) == statistics["settings"]


def test_every_column_is_explained(statistics: dict[str, Any]) -> None:
    text = card(statistics, "corpus")
    for column in COLUMNS:
        assert f"| {column} | " in text


def test_pictures_lie_beside_the_card_and_are_the_same_again(corpus: Path, statistics: dict[str, Any]) -> None:
    names = pictures(corpus, statistics)
    first = [(corpus / name).read_bytes() for name in names]
    assert len(names) == 3 and all(content.startswith(b"\x89PNG") and len(content) < 100_000 for content in first)
    pictures(corpus, statistics)
    assert [(corpus / name).read_bytes() for name in names] == first
    text = card(statistics, "corpus", names)
    assert re.findall(r"!\[[\w ]+\]\((.*)\)", text) == names
    assert "![" not in card(statistics, "corpus")


def test_a_folder_with_pictures_loads_with_datasets(corpus: Path, statistics: dict[str, Any], tmp_path: Path) -> None:
    text = card(statistics, "corpus", pictures(corpus, statistics))
    (corpus / "README.md").write_text(text, encoding="utf-8")
    loaded: Any = datasets.load_dataset(str(corpus), cache_dir=str(tmp_path))
    assert loaded["train"].column_names == list(COLUMNS)
    assert {split: len(loaded[split]) for split in loaded} == {
        name: each["documents"] for name, each in statistics["splits"].items()
    }


def test_histograms_count_every_document_and_every_line_of_a_small_corpus(corpus: Path) -> None:
    documents, files = read(corpus), sorted(corpus.glob("*.parquet"))
    sizes, lines = document_sizes(files), line_lengths(files)
    assert sum(sizes.counts) == len(documents)
    for left, right, count in zip(sizes.edges, sizes.edges[1:], sizes.counts, strict=False):
        assert count == sum(left <= document["size"] < right for document in documents)
    lengths = [len(line) for document in documents for line in document["content"].splitlines()]
    assert sum(lines.counts) == len(lengths)
    assert lines.counts[0] == sum(length < 5 for length in lengths)
    assert lines.counts[-1] == sum(length >= 160 for length in lengths)


def test_the_stages_of_an_older_corpus_follow_from_what_was_removed() -> None:
    removed = {"size": {"files": 3, "bytes": 30, "rule": "small"}, "duplicate": {"files": 1, "bytes": 9, "rule": "twice"}}
    stages = stages_of({"read": {"files": 10, "bytes": 100}, "removed": removed})
    assert [(each["stage"], each["files"], each["bytes"]) for each in stages] == [
        ("read", 10, 100),
        ("size", 7, 70),
        ("duplicate", 6, 61),
    ]

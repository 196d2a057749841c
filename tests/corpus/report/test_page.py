import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from codeparrot.cli import main
from codeparrot.corpus.report.command import report
from codeparrot.errors import CodeparrotError
from tests.corpus.recorded import write_recorded
from tests.corpus.samples import make, write_repositories

ALLOWED = {
    *("html head meta title style body h1 h2 h3 p ul li b i div".split()),
    *("table tr th td span figure picture source img details summary pre".split()),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recorded(tmp_path_factory.mktemp("recorded"))


class Page(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "report.html"
    report(str(corpus), html=str(file))
    assert [each.name for each in file.parent.iterdir()] == ["report.html"]
    return file.read_text()


def test_nothing_on_the_page_runs_or_is_fetched(page: str) -> None:
    parsed = Page(page)
    assert {tag for tag, _ in parsed.tags} <= ALLOWED
    for tag, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:image/png;base64,").startswith("data:image/png;base64,")
        if tag not in ("meta", "i"):
            assert "style" not in attributes
    assert "default-src 'none'" in page and "<script" not in page and "url(" not in page and "@import" not in page
    assert not re.search(r"https?://", page)


def test_hostile_files_are_shown_as_they_are_and_do_nothing(page: str) -> None:
    assert "</pre><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}" in Page(page).text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page)


def test_the_page_has_all_that_was_recorded(page: str) -> None:
    text = Page(page).text
    for expected in (
        "near duplicate",
        "40 files",
        "humaneval",
        "HumanEval/0",
        "ip_address",
        "what generated means",
        "me/it 0.py",
        "unknown",
    ):
        assert expected in text
    pictures = [attributes["src"] for tag, attributes in Page(page).tags if tag == "img"]
    assert len(pictures) == 2
    for picture in pictures:
        assert base64.b64decode(str(picture).partition(",")[2]).startswith(b"\x89PNG")


def test_a_secret_that_was_removed_is_not_shown(page: str, corpus: Path) -> None:
    assert "AKIA" not in page
    result = report(str(corpus))
    assert "AKIA" not in result.text and "AKIA" not in json.dumps(result.data)


def test_the_same_corpus_gives_the_same_page(corpus: Path, page: str, tmp_path: Path) -> None:
    report(str(corpus), html=str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text() == page


def test_a_corpus_of_an_older_version_has_a_page(tmp_path: Path) -> None:
    make(write_repositories(tmp_path / "raw", 3, 4), tmp_path / "out")
    statistics = json.loads((tmp_path / "out" / "statistics.json").read_text())
    for name in ("waterfall", "files", "near_duplicates", "contamination", "secrets"):
        statistics.pop(name, None)
        statistics["settings"].pop(name, None)
    (tmp_path / "out" / "statistics.json").write_text(json.dumps(statistics))
    shutil.rmtree(tmp_path / "out" / "removed", ignore_errors=True)
    result = report(str(tmp_path / "out"), html=str(tmp_path / "page.html"))
    assert Page((tmp_path / "page.html").read_text()).text.count("not recorded") == 2
    assert result.text.count("not recorded") == result.text.count("not looked for") == 2
    assert result.data["waterfall"][0]["stage"] == "read"


def test_a_page_that_cannot_be_written_is_an_error(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CodeparrotError, match="cannot be written"):
        report(str(corpus), html=str(tmp_path / "file" / "page.html"))


def test_the_report_as_text_and_as_json(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "report", "--corpus", str(corpus), "--clusters", "2", "--samples", "1", "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [cluster["files"] for cluster in data["clusters"]] == [40, 3]
    assert data["clusters"][0]["members"][0]["kept"] and len(data["clusters"][0]["members"]) == 20
    assert {reason: len(files) for reason, files in data["samples"].items()} == {
        "alphanumeric": 1,
        "generated": 1,
        "secrets": 1,
    }
    assert data["languages"] == {".py": {"documents": 60, "bytes": data["bytes"]}}
    assert main(["corpus", "report", "--corpus", str(corpus)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and "\u202e" not in text
    for expected in (
        "near_duplicate",
        "100.0%  .py",
        "40 files",
        "kept",
        "email 12",
        "humaneval: docstring 2, solution 1",
        "mbpp: none",
        "HumanEval/0 (docstring): me/it a.py",
    ):
        assert expected in text


def test_tokens_are_those_of_the_documents_and_their_ends(corpus: Path, tokenizer_folder: Path) -> None:
    from codeparrot.loading import load_tokenizer
    from tests.corpus.samples import read

    tokenizer = load_tokenizer(str(tokenizer_folder))
    found = report(str(corpus), tokenizer=str(tokenizer_folder)).data["tokens"]
    assert set(found["splits"]) == {"train", "valid"}
    for split, count in found["splits"].items():
        texts = [document["content"] for document in read(corpus, split)]
        assert count == sum(len(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids) + 1 for text in texts)
    assert found["total"] == sum(found["splits"].values())


def test_on_a_phone_a_stage_is_a_block_whose_numbers_have_units(page: str) -> None:
    narrow = page[page.index("@media (max-width: 40rem)") : page.index("</style>")]
    assert ".stages tr { display: flex" in narrow and "td[data-unit]::after" in narrow
    tags = Page(page).tags
    first = next(index for index, (tag, attributes) in enumerate(tags) if attributes.get("class") == "stages")
    last = next(index for index in range(first, len(tags)) if tags[index][0] in ("figure", "h2"))
    cells = [attributes for tag, attributes in tags[first:last] if tag == "td" and attributes.get("class") == "n"]
    units = [attributes.get("data-unit") for attributes in cells]
    assert cells and units == ["files", "bytes", "removed"] * (len(cells) // 3)

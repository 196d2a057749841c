"""The corpus knows a plug-in by its line in the registry alone."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import pytest

from codeparrot.corpus import registry
from codeparrot.corpus.build import build
from codeparrot.corpus.documents import Reading, Record, Source
from codeparrot.corpus.filters.rules import rules
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.report.command import report
from codeparrot.corpus.settings import all_stages
from codeparrot.corpus.stage import Cleaned, Found, Stage
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import make, modules, read

MARK = "# no more than a mark\n"


@dataclass(frozen=True)
class Marks(Stage):
    """What to do with marks."""

    remove: bool = False
    """Whether to remove them."""
    most: int = 3
    """Most marks in a document: documents with more are removed."""

    title: ClassVar[str] = "Marks"
    reason: ClassVar[str] = "marked"

    @property
    def is_on(self) -> bool:
        return self.remove

    def check(self) -> None:
        if self.most < 0:
            raise CodeparrotError(f"marks.most is {self.most}; it must be at least 0")

    def rule(self) -> str:
        return f"more than {self.most} marks"

    def clean(self, content: str) -> Cleaned:
        number = content.count(MARK)
        if number > self.most:
            return Cleaned(None, f"{number} marks", {"mark": number})
        return Cleaned(content.replace(MARK, ""), counts={"mark": number} if number else {})


class Texts:
    """A unit of the source below."""

    def __init__(self, number: int) -> None:
        self.key = str(number)

    def records(self) -> Iterator[Record]:
        text = modules(6)[int(self.key)].decode()
        yield Record(f"repo{self.key}", "a.py", "MIT", MARK * int(self.key) + text)


def open_texts(spec: str, reading: Reading) -> Source:
    units = [Texts(number) for number in range(int(spec.partition(":")[2]))]
    return Source({"kind": "texts", "suffixes": list(reading.suffixes)}, iter(units), len(units), spec)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.STAGES, "marks", f"{__name__}:Marks")
    monkeypatch.setitem(registry.SOURCES, "texts", registry.Scheme(f"{__name__}:open_texts", "NUMBER"))
    registry.stages.cache_clear()
    yield
    registry.stages.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("plugged")
def test_a_stage_and_a_source_that_are_registered_take_part(tmp_path: Path) -> None:
    statistics = make("texts:6", tmp_path / "out", marks=Marks(remove=True), valid_fraction=0)
    assert statistics["documents"] == 4 and all(MARK not in each["content"] for each in read(tmp_path / "out"))
    assert statistics["removed"]["marked"]["files"] == 2 and statistics["removed"]["marked"]["rule"] == "more than 3 marks"
    assert statistics["marks"] == {"files": 5, "kinds": {"mark": 15}}
    assert list(statistics["settings"])[-5:] == ["contamination", "secrets", "marks", "keep_removed", "on_error"]
    assert statistics["settings"]["marks"] == {"remove": True, "most": 3}
    assert statistics["sources"] == [{"source": "texts:6", "kind": "texts", "suffixes": [".py"]}]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Marks\n\n5 files held some.\n\n| kind | found |\n| --- | ---: |\n| mark | 15 |\n" in card
    assert "| marked | 2 |" in card and "texts:6 (kind: texts, suffixes: 1)" in card
    text = report(str(tmp_path / "out"), html=str(tmp_path / "page.html")).text
    assert "Marks:\n  in 5 files: mark 15\n" in text
    assert '<h2>Marks</h2>\n<div class="wide"><table>\n' in (tmp_path / "page.html").read_text()


@pytest.mark.usefixtures("plugged")
def test_a_stage_that_is_off_says_so_and_leaves_the_texts(tmp_path: Path) -> None:
    statistics = make("texts:3", tmp_path / "out", valid_fraction=0)
    assert sum(MARK in each["content"] for each in read(tmp_path / "out")) == 2
    assert "marked" not in statistics["removed"]
    assert "## Marks\n\nNothing was looked for.\n\n## Personal" in (tmp_path / "out" / "README.md").read_text()
    assert report(str(tmp_path / "out")).text.endswith("\nMarks: not looked for")


@pytest.mark.usefixtures("plugged")
def test_the_check_of_a_stage_is_made_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match=r"marks\.most is -1"):
        make("texts:3", tmp_path / "out", marks=Marks(most=-1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("plugged")
def test_a_source_that_is_registered_is_named_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match=r"git:FOLDER, archives:FOLDER, hub:NAME, or texts:NUMBER$"):
        make("text:3", tmp_path / "out")


def test_a_stage_without_a_line_is_refused() -> None:
    with pytest.raises(TypeError, match="no stage marks"):
        all_stages({"marks": Marks()})


def test_every_stage_is_a_group_of_flags_with_its_defaults() -> None:
    parameters = inspect.signature(build).parameters
    for name, stage in registry.stages().items():
        assert parameters[name].annotation is stage and parameters[name].default == stage()


def test_the_statistics_of_an_older_version_make_a_stage() -> None:
    assert Marks.of({"remove": True, "gone": 1}) == Marks(remove=True)
    statistics = {"settings": {"marks": {"remove": True}}, "marks": Marks().summary(Found(1))}
    assert Marks.findings("marks", statistics) == {"files": 1, "kinds": {}}
    assert Marks.findings("marks", {}) is None


def test_limits_belong_to_one_filter_and_filters_have_one_place() -> None:
    filters = registry.filters().values()
    names = [field.name for limits in {each.limits for each in filters} for field in fields(limits)]
    assert len(names) == len(set(names)) and {field.name for field in fields(Thresholds())} == set(names)
    assert len({each.order for each in filters}) == len(filters)


def test_filters_judge_in_their_order_and_not_in_that_of_the_registry() -> None:
    early = "size generated longest_line mean_line alphanumeric few_assignments no_keyword config_or_test"
    assert list(rules(Thresholds())) == early.split()
    assert list(rules(Thresholds())) != [name for name in registry.filters() if name in early.split()]


CORPUS_ONLY = {"ahocorasick_rs", "detect_secrets", "identify", "license_expression", "rensa", "jinja2"}


@pytest.mark.parametrize("module", ["publishing.folders", "publishing.card", "corpus.build", "corpus.report.command", "train"])
def test_what_only_a_build_needs_is_imported_there(module: str) -> None:
    program = f"import sys, codeparrot.{module}; print(*sorted({CORPUS_ONLY} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "\n"

"""The stage that removes documents that hold a problem of a benchmark. index.py says what counts as holding one."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from codeparrot.corpus.contamination.benchmark_texts import read_benchmark
from codeparrot.corpus.contamination.index import Index
from codeparrot.corpus.sources.listing import digest
from codeparrot.corpus.stage import Cleaned, Found, Stage
from codeparrot.errors import CodeparrotError

HITS_SHOWN = 20


@dataclass(frozen=True)
class Contamination(Stage):
    """Which benchmarks the corpus must not hold."""

    benchmarks: tuple[str, ...] = ()
    """humaneval, humaneval+, mbpp, codeparrot, hub:NAME, or JSONL files (also .gz) whose lines have a docstring, text or
    prompt and a canonical_solution, solution or code (none: no document is looked at)."""
    min_characters: int = 40
    """Fewest characters, white space aside, of a description or solution that is looked for as a whole."""
    ngram: int = 10
    """Tokens in a row that are compared (0: do not compare tokens)."""
    min_ngrams: int = 5
    """Fewest distinct n-grams of a solution that is compared by them."""
    min_overlap: float = 0.5
    """Smallest share of a solution's n-grams that a document must hold to be removed."""
    min_renamed_overlap: float = 0.8
    """The same with variables replaced by a placeholder; more programs share such n-grams."""

    title: ClassVar[str] = "Decontamination"
    heading: ClassVar[str] = "contamination with benchmarks"
    reason: ClassVar[str] = "contaminated"

    @property
    def is_on(self) -> bool:
        return bool(self.benchmarks)

    def check(self) -> None:
        """Raise CodeparrotError if a setting is impossible or a benchmark cannot be read."""
        for name, least in (("min_characters", 1), ("ngram", 0), ("min_ngrams", 1)):
            if getattr(self, name) < least:
                raise CodeparrotError(f"contamination.{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("min_overlap", "min_renamed_overlap"):
            if not 0 < getattr(self, name) <= 1:
                raise CodeparrotError(f"contamination.{name} is {getattr(self, name)}; it is a share, above 0 and at most 1")
        Index.load(self)

    def files(self) -> dict[str, str]:
        problems = [each for name in self.benchmarks for each in read_benchmark(name)]
        return {"contamination.benchmarks": digest(*problems)} if self.is_on else {}

    def rule(self) -> str:
        return f"it holds a problem of {', '.join(self.benchmarks)}"

    def clean(self, content: str) -> Cleaned:
        hits = Index.load(self).hits(content)
        if not hits:
            return Cleaned(content)
        detail = ", ".join(f"{hit.benchmark} {hit.task_id} ({hit.how})" for hit in hits)
        return Cleaned(None, detail, {}, tuple(hit._asdict() for hit in hits), content)

    def summary(self, found: Found) -> dict[str, Any]:
        """Return the problems that were found, and in how many files each was."""
        names = ("benchmark", "task_id", "how", "repo_name", "path")
        hits = sorted(found.hits, key=lambda hit: tuple(hit[name] for name in names))
        benchmarks: dict[str, Counter[str]] = {}
        for hit in hits:
            benchmarks.setdefault(hit["benchmark"], Counter())[hit["how"]] += 1
        return {"files": found.files, "benchmarks": benchmarks, "hits": hits}

    @classmethod
    def findings(cls, name: str, statistics: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what was found of each benchmark; None if none was looked for, or if that is not recorded."""
        found = statistics.get(name) or {}
        asked = statistics.get("settings", {}).get(name, {}).get("benchmarks", ())
        benchmarks = {each: found.get("benchmarks", {}).get(each, {}) for each in (*asked, *found.get("benchmarks", {}))}
        return {"files": found.get("files", 0), "benchmarks": benchmarks, "hits": found.get("hits", [])} if benchmarks else None

    @classmethod
    def words(cls, found: Mapping[str, Any] | None) -> str:
        if found is None:
            return "The corpus was not compared with any benchmark: it may hold problems that a model is evaluated on."
        return f"Files that hold a problem of a benchmark or its solution were removed: {found['files']:,}."

    @classmethod
    def table(cls, found: Mapping[str, Any]) -> tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]:
        benchmarks = found["benchmarks"].items()
        rows = [(name, how, count) for name, ways in benchmarks for how, count in (ways or {"": 0}).items()]
        return ("benchmark", "found by", "files"), rows

    @classmethod
    def report(cls, found: Mapping[str, Any]) -> Iterator[str]:
        for name, ways in found["benchmarks"].items():
            yield f"{name}: " + (", ".join(f"{how} {count:,}" for how, count in ways.items() if count) or "none")
        for hit in found["hits"][:HITS_SHOWN]:
            yield f"  {hit['benchmark']} {hit['task_id']} ({hit['how']}): {hit['repo_name']} {hit['path']}"
        if len(found["hits"]) > HITS_SHOWN:
            yield f"  and {len(found['hits']) - HITS_SHOWN:,} more (--json lists them)"

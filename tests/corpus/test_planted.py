"""A whole build of a corpus with known contents: what is removed, for which reason, and what is left."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.secrets.stage import Secrets
from tests.corpus.planted import Planted, documents, pairs, write_rows
from tests.corpus.samples import digests, make, read

LEVELS = {0.5: (0.0, 0.0), 0.6: (0.0, 0.05), 0.75: (0.7, 1.0), 0.85: (0.98, 1.0), 0.9: (1.0, 1.0), 0.95: (1.0, 1.0)}
"""For each similarity, bounds on the share of pairs of which one document is removed."""
PAIRS, PLAIN, COPIES, BROKEN, SECRETS = 60, 150, 20, 10, 5


@pytest.fixture(scope="module")
def planted() -> list[Planted]:
    plain = documents(PLAIN, repositories=30)
    copies = [Planted("org/fork", each.path, each.content.replace("\n", "\n\n")) for each in plain[:COPIES]]
    broken = [
        each._replace(path=f"broken/{each.path}", content=each.content + "def (:\n") for each in documents(BROKEN, seed=1)
    ]
    secrets = [
        each._replace(path=f"secret/{each.path}", content=each.content + f"owner = 'jane.doe{index}@company.com'\n")
        for index, each in enumerate(documents(SECRETS, seed=2))
    ]
    similar = [each for level in LEVELS for pair in pairs(level, PAIRS) for each in pair]
    return [*plain, *copies, *broken, *secrets, *similar]


@pytest.fixture(scope="module")
def built(planted: list[Planted], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("planted")
    for number in range(4):
        write_rows(folder / f"rows{number}.jsonl", planted[number::4])
    options = {"filters": Thresholds(check_syntax=True), "secrets": Secrets(mode="drop"), "valid_fraction": 0.1}
    statistics = make(f"{folder}/*.jsonl", folder / "corpus", shard_bytes=200_000, workers=2, **options)
    return folder / "corpus", statistics


def test_near_duplicates_are_found_by_their_similarity(built: tuple[Path, dict[str, Any]]) -> None:
    left = {(document["repo_name"], document["path"]) for document in read(built[0])}
    for level, (least, most) in LEVELS.items():
        kept = [sum(each[:2] in left for each in pair) for pair in pairs(level, PAIRS)]
        assert least <= kept.count(1) / PAIRS <= most, level
        assert kept.count(0) == 0, level


def test_everything_else_is_removed_under_its_name_and_nothing_more(built: tuple[Path, dict[str, Any]]) -> None:
    removed = {name: facts["files"] for name, facts in built[1]["removed"].items() if facts["files"]}
    near = removed.pop("near_duplicate")
    assert removed == {"duplicate": COPIES, "syntax": BROKEN, "secrets": SECRETS}
    texts = [document["content"] for document in read(built[0])]
    assert len(texts) == PLAIN + 2 * PAIRS * len(LEVELS) - near
    assert not any("jane.doe" in text or "def (:" in text for text in texts)


def test_a_repository_is_never_in_both_splits(built: tuple[Path, dict[str, Any]]) -> None:
    train, valid = ({document["repo_name"] for document in read(built[0], split)} for split in ("train", "valid"))
    assert train and valid and not train & valid


def test_the_waterfall_adds_up(built: tuple[Path, dict[str, Any]], planted: list[Planted]) -> None:
    statistics = built[1]
    lines = statistics["waterfall"]
    assert lines[0]["stage"] == "read" and lines[0]["files"] == len(planted)
    assert lines[0]["bytes"] == sum(len(each.content.encode()) for each in planted)
    for before, after in pairwise(lines):
        assert before["files"] - after["removed_files"] == after["files"]
        assert before["bytes"] - after["removed_bytes"] == after["bytes"]
    assert (lines[-1]["stage"], lines[-1]["files"], lines[-1]["bytes"]) == (
        "kept",
        statistics["documents"],
        statistics["bytes"],
    )
    assert [line["stage"] for line in lines[1:-1]] == list(statistics["removed"])


def test_samples_of_what_was_removed_hold_no_secret_and_are_few(built: tuple[Path, dict[str, Any]]) -> None:
    samples = pq.read_table(built[0] / built[1]["files"]["removed"]).to_pylist()
    assert Counter(sample["reason"] for sample in samples) == {"syntax": BROKEN, "secrets": SECRETS}
    assert all(len(sample["content"]) <= 2000 and sample["path"] for sample in samples)
    assert "company.com" not in json.dumps(samples)


def test_every_cluster_has_one_member_that_is_kept(built: tuple[Path, dict[str, Any]]) -> None:
    rows = pq.read_table(built[0] / built[1]["files"]["duplicates"]).to_pylist()
    clusters = Counter(row["cluster"] for row in rows)
    assert min(clusters.values()) > 1
    assert Counter(row["cluster"] for row in rows if row["kept"]) == dict.fromkeys(clusters, 1)
    assert len(clusters) == built[1]["near_duplicates"]["clusters"]
    kinds = Counter(row["kind"] for row in rows)
    removed = built[1]["removed"]
    assert (kinds["exact"], kinds["near"]) == (removed["duplicate"]["files"], removed["near_duplicate"]["files"])


@pytest.mark.slow
def test_a_sample_is_the_same_for_every_number_of_workers_and_after_a_kill(
    planted: list[Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeparrot.corpus.sources.tables.BLOCK_BYTES", 50_000)
    source = write_rows(tmp_path / "rows.jsonl", planted)
    make(source, tmp_path / "one" / "corpus", max_bytes=700_000)
    make(source, tmp_path / "two" / "corpus", max_bytes=700_000, workers=2)
    monkeypatch.setattr("codeparrot.corpus.pipeline.statistics_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make(source, tmp_path / "killed" / "corpus", max_bytes=700_000)
    monkeypatch.undo()
    make(source, tmp_path / "killed" / "corpus", max_bytes=700_000)
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "killed")
    read_bytes = json.loads((tmp_path / "one" / "corpus" / "statistics.json").read_text())["read"]["bytes"]
    assert 700_000 <= read_bytes < 800_000

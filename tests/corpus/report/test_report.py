import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from codeparrot.corpus.report.command import report
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import make, write_repositories


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    make(write_repositories(root / "raw"), root / "out", shard_bytes=400_000)
    return root / "out"


@pytest.fixture
def corpus(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "corpus"))


def test_a_report_says_what_the_build_said(corpus: Path) -> None:
    result = report(str(corpus))
    assert result.data["documents"] == sum(split["documents"] for split in result.data["splits"].values()) == 60
    assert "60 documents" in result.text and "unknown" in result.text and "kind: folder" in result.text
    assert len(result.data["splits"]["train"]["shards"]) > 1


def test_a_missing_shard_is_found(corpus: Path) -> None:
    (corpus / "valid-00000-of-00001.parquet").unlink()
    with pytest.raises(CodeparrotError, match=r"valid-00000-of-00001\.parquet is missing"):
        report(str(corpus))


def test_a_truncated_shard_is_found(corpus: Path) -> None:
    shard = next(corpus.glob("train-00001-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CodeparrotError, match=r"train-00001.* cannot be read"):
        report(str(corpus))


def test_a_shard_with_other_rows_is_found(corpus: Path) -> None:
    shard = next(corpus.glob("train-00001-*.parquet"))
    pq.write_table(pq.read_table(shard).slice(1), shard)
    with pytest.raises(CodeparrotError, match=r"train-00001.* rows instead of"):
        report(str(corpus))


def test_a_shard_without_a_column_is_found(corpus: Path) -> None:
    shard = next(corpus.glob("valid-*"))
    pq.write_table(pq.read_table(shard).drop_columns(["license"]), shard)
    with pytest.raises(CodeparrotError, match=r"valid-00000.* has no column license"):
        report(str(corpus))


def test_a_shard_too_many_is_found(corpus: Path) -> None:
    shutil.copy(corpus / "valid-00000-of-00001.parquet", corpus / "train-00009-of-00010.parquet")
    with pytest.raises(CodeparrotError, match=r"train-00009-of-00010.* does not belong"):
        report(str(corpus))


def test_a_folder_that_is_no_corpus_is_an_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CodeparrotError, match="is not a corpus"):
            report(str(folder))
    (tmp_path / "statistics.json").write_text("{")
    with pytest.raises(CodeparrotError, match="is damaged"):
        report(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("waterfall", None),
        ("licenses", []),
        ("sources", "x"),
        ("files", []),
        ("settings", 1),
        ("secrets", "x"),
        ("sources", ...),
    ],
)
def test_statistics_of_another_type_are_damage(corpus: Path, name: str, value: object) -> None:
    path = corpus / "statistics.json"
    statistics = json.loads(path.read_text(encoding="utf-8"))
    del statistics[name]
    path.write_text(json.dumps(statistics if value is ... else {**statistics, name: value}), encoding="utf-8")
    with pytest.raises(CodeparrotError, match=rf"statistics\.json is damaged \(its {name}\); build the corpus again"):
        report(str(corpus))

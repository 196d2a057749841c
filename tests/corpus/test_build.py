import json
import os
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from codeparrot.corpus import clean, reading, segments
from codeparrot.corpus.documents import COLUMNS, ColumnNames
from codeparrot.corpus.filters.rules import first_failing
from codeparrot.corpus.filters.text import Text
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.hashes import fingerprint, position
from codeparrot.corpus.licenses.rules import LicenseSettings
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.secrets.redaction import redact
from codeparrot.corpus.secrets.stage import Secrets
from codeparrot.errors import CodeparrotError
from tests.corpus.samples import COMMAND, LENIENT, digests, make, modules, read, write_repositories


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten repositories of six modules, and one more with a file for every rule to remove."""
    root = write_repositories(tmp_path_factory.mktemp("raw"))
    spoilt = root / "spoilt"
    spoilt.mkdir()
    (spoilt / "copy.py").write_bytes(modules(1)[0].replace(b"\n", b"\n\n") + b"   ")
    (spoilt / "latin.py").write_bytes(b"name = '\xe9'\n" * 200)
    (spoilt / "small.py").write_text("x = 1\n")
    (spoilt / "huge.py").write_text("x = 1\n" * 300_000)
    (spoilt / "generated.py").write_text("# Automatically generated\n" + "x = 1\n" * 300)
    (spoilt / "minified.py").write_text("x = 1;" * 300 + "\nx = 1" * 300)
    (spoilt / "wide.py").write_text(("a" * 150 + "\n") * 20)
    (spoilt / "art.py").write_text("####### \n" * 200)
    return root


@pytest.fixture(scope="module")
def built(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("built") / "corpus"
    return output, make(raw, output, shard_bytes=300_000)


def test_documents_are_the_files_that_pass_with_all_columns(built: tuple[Path, dict[str, Any]], raw: Path) -> None:
    documents = read(built[0])
    assert len(documents) == 60
    for document in documents:
        assert tuple(document) == COLUMNS
        content = (raw / document["repo_name"] / document["path"]).read_text(encoding="utf-8")
        assert document["content"] == redact(content, Secrets().kinds).content
        assert document["size"] == len(document["content"].encode())
        assert document["license"] == "unknown"
        assert first_failing(Text(document["content"]), Thresholds()) is None


def test_every_file_is_counted_once_under_the_rule_that_removed_it(built: tuple[Path, dict[str, Any]], raw: Path) -> None:
    statistics = built[1]
    files = list(raw.rglob("*.py"))
    removed = {name: (facts["files"], facts["bytes"]) for name, facts in statistics["removed"].items()}
    sizes = {file.stem: file.stat().st_size for file in (raw / "spoilt").iterdir()}
    expected = {
        "undecodable": (1, sizes["latin"]),
        "size": (2, sizes["small"] + sizes["huge"]),
        "generated": (1, sizes["generated"]),
        "longest_line": (1, sizes["minified"]),
        "mean_line": (1, sizes["wide"]),
        "alphanumeric": (1, sizes["art"]),
        "unreadable": (0, 0),
        "malformed": (0, 0),
        "near_duplicate": (0, 0),
    }
    duplicates = removed.pop("duplicate")
    assert {name: each for name, each in removed.items() if each[0]} == {n: each for n, each in expected.items() if each[0]}
    assert duplicates[0] == 1  # the copy or its original, whichever comes later
    assert statistics["read"] == {"files": len(files), "bytes": sum(file.stat().st_size for file in files)}
    assert statistics["documents"] + sum(each["files"] for each in statistics["removed"].values()) == len(files)
    redacted = statistics["waterfall"][-1]["removed_bytes"]  # placeholders are this much shorter than the secrets
    bytes_removed = sum(each["bytes"] for each in statistics["removed"].values())
    assert statistics["bytes"] + redacted + bytes_removed == statistics["read"]["bytes"]


def test_what_is_off_is_no_stage(raw: Path, tmp_path: Path) -> None:
    near, off = NearDuplicates(threshold=0), Secrets(mode="off")
    statistics = make(raw, tmp_path / "corpus", near_duplicates=near, secrets=off)
    stages = [line["stage"] for line in statistics["waterfall"]]
    assert "duplicate" in stages and not {"near_duplicate", "contaminated", "secrets"} & {*stages, *statistics["removed"]}


def test_statistics_are_those_of_the_documents(built: tuple[Path, dict[str, Any]]) -> None:
    output, statistics = built
    assert json.loads((output / "statistics.json").read_text()).items() <= statistics.items()
    for split, facts in statistics["splits"].items():
        documents = read(output, split)
        assert facts["documents"] == len(documents)
        assert facts["bytes"] == sum(document["size"] for document in documents)
        assert facts["characters"] == sum(len(document["content"]) for document in documents)
        assert facts["repositories"] == len({document["repo_name"] for document in documents})
    assert statistics["licenses"] == {"unknown": {"documents": 60, "bytes": statistics["bytes"]}}


def test_no_repository_is_in_both_splits(built: tuple[Path, dict[str, Any]]) -> None:
    train, valid = ({document["repo_name"] for document in read(built[0], split)} for split in ("train", "valid"))
    assert train and valid and not train & valid
    assert sorted(valid) == built[1]["splits"]["valid"]["repository_names"]


def test_documents_are_in_the_hash_order_of_their_names(built: tuple[Path, dict[str, Any]]) -> None:
    for split in ("train", "valid"):
        places = [position(0, document["repo_name"], document["path"]) for document in read(built[0], split)]
        assert places == sorted(places)
    repositories = [document["repo_name"] for document in read(built[0], "train")]
    assert sum(one == other for one, other in pairwise(repositories)) < len(repositories) / 3


def test_shards_are_numbered_and_of_about_the_size_that_was_asked_for(built: tuple[Path, dict[str, Any]]) -> None:
    shards = built[1]["splits"]["train"]["shards"]
    assert [shard["file"] for shard in shards] == [f"train-{i:05d}-of-{len(shards):05d}.parquet" for i in range(len(shards))]
    assert len(shards) > 2
    assert all(100_000 < shard["bytes"] < 600_000 for shard in shards)


def test_shards_are_zstd_with_small_row_groups(tmp_path: Path) -> None:
    rows = [{"repo_name": str(number % 3), "content": f"# {number}\n" * 300} for number in range(700)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    make(tmp_path / "rows.parquet", tmp_path / "out", valid_fraction=0.0, filters=LENIENT)
    metadata = pq.read_metadata(tmp_path / "out" / "train-00000-of-00001.parquet")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [256, 256, 188]
    assert {metadata.row_group(0).column(index).compression for index in range(5)} == {"ZSTD"}


def test_the_number_of_workers_changes_no_byte(built: tuple[Path, dict[str, Any]], raw: Path, tmp_path: Path) -> None:
    make(raw, tmp_path / "corpus", shard_bytes=300_000, workers=3)
    assert digests(tmp_path / "corpus") == digests(built[0])


def test_the_hash_seed_of_the_process_changes_no_byte(built: tuple[Path, dict[str, Any]], raw: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "corpus", "build", "--source", raw, "--output", tmp_path / "corpus", "--shard_bytes", "300000"]
    subprocess.run([*command, "--workers", "1"], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert digests(tmp_path / "corpus") == digests(built[0])


def test_where_and_in_what_order_files_were_written_changes_no_document(raw: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    for file in sorted(raw.rglob("*.py"), reverse=True):
        copy = moved / file.relative_to(raw)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    make(raw, tmp_path / "one")
    make(moved, tmp_path / "two")
    assert read(tmp_path / "one") == read(tmp_path / "two")


def test_how_the_work_is_cut_into_tasks_changes_no_byte(
    built: tuple[Path, dict[str, Any]], raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "BATCH_BYTES", 50_000)
    monkeypatch.setattr(clean, "TASK_BYTES", 50_000)
    monkeypatch.setattr(reading, "UNITS", 1)
    monkeypatch.setattr("codeparrot.corpus.sources.files.BATCH_FILES", 5)
    make(raw, tmp_path / "corpus", shard_bytes=300_000)
    assert digests(tmp_path / "corpus") == digests(built[0])


def test_another_seed_gives_another_order_of_the_same_documents(raw: Path, tmp_path: Path) -> None:
    make(raw, tmp_path / "a", valid_fraction=0.0)
    make(raw, tmp_path / "b", valid_fraction=0.0, seed=1)
    one, other = ([fingerprint(document["content"]) for document in read(tmp_path / name)] for name in ("a", "b"))
    assert one != other
    assert sorted(one) == sorted(other)


def test_a_sample_is_the_beginning_of_a_larger_sample(raw: Path, tmp_path: Path) -> None:
    previous: set[str] = set()
    for max_bytes, workers in ((100_000, 2), (400_000, 1), (800_000, 1)):
        secrets = Secrets("off")
        statistics = make(raw, tmp_path / str(max_bytes), max_bytes=max_bytes, workers=workers, secrets=secrets)
        contents = {document["content"] for document in read(tmp_path / str(max_bytes))}
        assert previous < contents
        assert max_bytes <= statistics["bytes"] < max_bytes + 100_000  # whole files: the largest has 100,000 bytes
        assert statistics["read"]["bytes"] == statistics["bytes"] + sum(x["bytes"] for x in statistics["removed"].values())
        previous = contents


def test_a_sample_takes_from_every_source(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rows = [{"content": f"# {name} {number}\n" * 100} for number in range(2000)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make(
        [tmp_path / "one.jsonl", tmp_path / "two.jsonl"],
        tmp_path / "out",
        max_bytes=3_200_000,
        filters=replace(LENIENT, min_size=1024),
    )
    counts = [sum(document["repo_name"] == name for document in read(tmp_path / "out")) for name in ("one", "two")]
    assert min(counts) > 200


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from(["1", " 1", "2", "3 3", "33"])), min_size=1
    )
)
def test_of_documents_with_the_same_text_one_is_kept(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    root = tmp_path_factory.mktemp("duplicates")
    named = [{"repo_name": repo, "path": path, "text": text} for repo, path, text in rows]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named))
    columns, filters = ColumnNames(text="text"), LENIENT
    statistics = make(root / "rows.jsonl", root / "out", columns=columns, filters=filters, valid_fraction=0.0)
    texts = [document["content"] for document in read(root / "out")]
    assert len(texts) == len({fingerprint(text) for text in texts}) == len({fingerprint(text) for _, _, text in rows})
    assert statistics["removed"]["duplicate"]["files"] == len(rows) - len(texts)


def test_lines_of_the_opt_out_list_that_match_nothing_are_reported_and_their_names_not_published(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("REPO1\nrepo-2  # misspelt\nhttps://github.com/some/one-else\n", encoding="utf-8-sig")
    statistics = make(raw, tmp_path / "corpus", licenses=LicenseSettings(opt_out=str(tmp_path / "out")))
    kept = {each["repo_name"] for each in read(tmp_path / "corpus")}
    assert "repo1" not in kept and "repo2" in kept
    which = f"2 of 3 lines of {tmp_path / 'out'}: repo-2, https://github.com/some/one-else"
    assert capsys.readouterr().err == f"codeparrot: warning: no repository that was read matches {which}\n"
    assert statistics["opt_out"] == {"lines": 3, "unmatched": 2}
    for file in ("statistics.json", "README.md"):
        assert "one-else" not in (tmp_path / "corpus" / file).read_text(encoding="utf-8")


def test_an_empty_document_and_a_huge_one_are_documents(tmp_path: Path) -> None:
    rows = [
        {"repo_name": "a", "content": ""},
        {"repo_name": "b", "content": "x" * 5_000_000},
        {"repo_name": "c", "content": "y"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    filters = replace(LENIENT, max_size=10**7, max_line_length=10**7, max_mean_line_length=1e7)
    make(tmp_path / "rows.jsonl", tmp_path / "out", filters=filters, valid_fraction=0.0)
    assert sorted(len(document["content"]) for document in read(tmp_path / "out")) == [0, 1, 5_000_000]
    make(tmp_path / "rows.jsonl", tmp_path / "empty", filters=replace(LENIENT, max_size=0), valid_fraction=0.0)
    assert [document["content"] for document in read(tmp_path / "empty")] == [""]


def test_the_card_loads_with_datasets(built: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    loaded: Any = datasets.load_dataset(str(built[0]), cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "valid"}
    assert loaded["train"].column_names == list(COLUMNS)
    assert list(loaded["train"]) == read(built[0], "train")
    assert list(loaded["valid"]) == read(built[0], "valid")


def test_a_corpus_without_a_valid_split_loads_with_datasets(raw: Path, tmp_path: Path) -> None:
    make(raw, tmp_path / "out", valid_fraction=0.0)
    loaded: Any = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train"}


def test_the_card_says_what_was_removed_and_how_it_was_made(built: tuple[Path, dict[str, Any]]) -> None:
    text = (built[0] / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == ["other"] and front["size_categories"] == ["n<1K"]
    assert "| undecodable | 1 | 2,200 |" in text
    assert "shard_bytes: 300000" in text
    assert built[1]["splits"]["valid"]["repository_names"][0] in text


@pytest.mark.slow
def test_python_gives_versions_and_licences(tmp_path: Path) -> None:
    statistics = make("python", tmp_path / "out", max_bytes=2_000_000, workers=2)
    # Near duplicates are removed afterwards, and some of the packages that are installed here may have such.
    assert statistics["bytes"] + statistics["removed"]["near_duplicate"]["bytes"] >= 2_000_000
    assert statistics["bytes"] < 3_100_000
    distributions = statistics["sources"][0]["distributions"]
    documents = read(tmp_path / "out")
    for document in documents:
        # A file may state more than its distribution does.
        assert document["license"].startswith(distributions[document["repo_name"]]["license"].removesuffix("unknown"))
    assert sum(each["documents"] for each in distributions.values()) == len(documents)
    assert "| cpython | 3." in (tmp_path / "out" / "README.md").read_text()


def test_when_nothing_is_left_the_error_says_what_removed_it(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.py").write_text("x = 1\n")
    with pytest.raises(CodeparrotError, match=r"no document is left of the 1 .*size 1"):
        make(tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_source_without_documents_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    with pytest.raises(CodeparrotError, match=r"^source .*rows\.parquet holds no document"):
        make(tmp_path / "rows.parquet", tmp_path / "out")


@pytest.mark.parametrize("seed", range(4))
def test_an_empty_file_is_a_document_wherever_it_falls(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "raw" / "a"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_bytes(b"")
    (folder / "m.py").write_bytes(modules(1)[0])
    statistics = make(tmp_path / "raw", tmp_path / "corpus", filters=LENIENT, valid_fraction=0, seed=seed)
    assert len(read(tmp_path / "corpus")) == 2
    assert [each["documents"] for each in statistics["splits"].values()] == [2]


def test_a_segment_of_which_every_document_is_a_copy_is_cleaned_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "UNITS", 1)
    for copy in range(3):
        for number in range(2):
            row = {"path": f"{number}.py", "content": f"x = {number}\n"}
            (tmp_path / f"{copy}{number}.jsonl").write_text(json.dumps(row) + "\n")
    statistics = make(tmp_path / "*.jsonl", tmp_path / "out", filters=LENIENT, valid_fraction=0)
    assert (statistics["documents"], statistics["removed"]["duplicate"]["files"]) == (2, 4)

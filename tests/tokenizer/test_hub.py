"""Of a data set on the Hub at most twice the sample and a piece a shard are fetched, whatever its format."""

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from codeparrot.stream.readers import jsonl
from codeparrot.tokenizer import sample as module
from codeparrot.tokenizer.sample import find_corpus, sample
from tests.hub_server.fixture import HubServer
from tests.launching import ROOT

NUM_FILES = 20
BUDGET = 400_000
PLAIN: Any = {"compression": "none", "use_dictionary": False, "write_statistics": False}
PROGRAM = """
import json, sys
from codeparrot.stream.readers import jsonl
from codeparrot.tokenizer import sample as module
from codeparrot.tokenizer.sample import find_corpus, sample
module.RANGE_BYTES, jsonl.BLOCK_BYTES = int(sys.argv[3]), int(sys.argv[4])
files = find_corpus(sys.argv[1])
chosen = sample(files.of("train"), sys.argv[5], int(sys.argv[2]))
print(json.dumps({"valid": files.has("valid"), "texts": list(chosen), "again": list(chosen) == list(chosen)}))
"""


def taken(
    hub: HubServer,
    home: Path,
    repo: str,
    budget: int,
    piece: int = module.RANGE_BYTES,
    block: int = jsonl.BLOCK_BYTES,
    column: str = "content",
) -> tuple[dict[str, Any], int, str]:
    """Return the sample, the bytes of data files that were sent for it, and what was said."""
    hub.forget_requests()
    command = [sys.executable, "-c", PROGRAM, f"hub:{repo}", str(budget), str(piece), str(block), column]
    done = subprocess.run(command, env=hub.environment(home), capture_output=True, text=True, cwd=ROOT, check=False)
    assert not done.returncode, done.stderr[-3000:]
    sent = [each["sent_bytes"] for each in hub.requests if each["method"] == "GET" and "/data/" in each["path"]]
    return json.loads(done.stdout), sum(sent), done.stderr


def publish(hub: HubServer, folder: Path, name: str) -> str:
    repo = f"me/{name}"
    hub.api().create_repo(repo, repo_type="dataset")
    hub.api().upload_folder(repo_id=repo, folder_path=folder, path_in_repo="data", repo_type="dataset")
    return repo


def write(folder: Path, kind: str, files: int = NUM_FILES, documents: int = 320) -> int:
    """Write files of documents of 2 kB and return their bytes; a row group holds 128 kB of text."""
    source = random.Random(0)
    folder.mkdir()
    for file in range(files):
        rows = [{"content": f"{file} {row} {source.randbytes(1000).hex()}", "other": "x" * 50} for row in range(documents)]
        path = folder / f"train-{file:05d}-of-{files:05d}.{kind}"
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=64, **PLAIN)
        else:
            path.write_bytes(gzip.compress(lines) if kind == "json.gz" else lines)
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json.gz"])
def test_at_most_twice_the_sample_and_a_piece_a_shard_are_sent(hub: HubServer, tmp_path: Path, kind: str) -> None:
    # Of a Parquet file the last 64 kB are read too: half a row group here.
    piece = 1 << 17
    total = write(tmp_path / "data", kind)
    repo = publish(hub, tmp_path / "data", f"sampled-{kind}")
    found, sent, said = taken(hub, tmp_path / "home", repo, BUDGET, piece, 1 << 14)
    texts = found["texts"]
    size = sum(map(len, texts))
    assert found["again"] and size == pytest.approx(BUDGET, rel=0.1) and len(set(texts)) == len(texts)
    assert sent <= 2 * size + module.FEWEST_FILES * piece and sent < total / 2
    assert "as a whole" not in said
    shards = [int(text.split()[0]) for text in texts]
    assert len(set(shards)) >= (module.FEWEST_FILES if kind == "json.gz" else 6), "from all over the data set"
    if kind != "json.gz":  # which can only be read from its beginning
        rows = [int(text.split()[1]) for text in texts]
        assert min(sum(row * 4 // 320 == quarter for row in rows) for quarter in range(4)) > len(rows) / 10, "and of its files"
    same, *_ = taken(hub, tmp_path / "home", repo, BUDGET, piece, 1 << 14)
    assert same["texts"] == texts


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "json.gz"])
def test_a_hub_without_ranges_is_read_from_the_beginning_of_its_files(hub: HubServer, tmp_path: Path, kind: str) -> None:
    total = write(tmp_path / "data", kind, files=4, documents=4000)
    repo = publish(hub, tmp_path / "data", f"unranged-{kind}")
    fault = hub.faults.ignore_range(path="/data/")
    found, sent, said = taken(hub, tmp_path / "home", repo, BUDGET)
    hub.faults.remove(fault)
    assert said.count("sends files only as a whole: they are read from their beginnings") == 1
    assert sum(map(len, found["texts"])) == pytest.approx(BUDGET, rel=0.1)
    assert {text.split()[0] for text in found["texts"]} == {"0", "1", "2", "3"}
    # What the buffers of a connection hold is counted as sent.
    assert sent <= 2 * BUDGET + 6 * (1 << 20) < total


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "json.gz"])
def test_a_data_set_that_fits_is_taken_whole(hub: HubServer, tmp_path: Path, kind: str) -> None:
    write(tmp_path / "data", kind, files=3, documents=40)
    if kind == "parquet":
        parquet.write_table(pa.table({"content": ["held out"]}), tmp_path / "data" / "validation-00000-of-00001.parquet")
    repo = publish(hub, tmp_path / "data", f"whole-{kind}")
    found, *_ = taken(hub, tmp_path / "home", repo, 10**7)
    assert found["valid"] == (kind == "parquet") and len(found["texts"]) == 3 * 40


@pytest.mark.slow
def test_of_text_files_each_gives_its_beginning(hub: HubServer, tmp_path: Path) -> None:
    source = random.Random(0)
    (tmp_path / "data").mkdir()
    for file in range(3):
        text = "".join(f"{file} {row} {source.randbytes(1000).hex()}\n" for row in range(15_000))
        (tmp_path / "data" / f"{file}.txt").write_text(text)
    total = sum(file.stat().st_size for file in (tmp_path / "data").iterdir())
    repo = publish(hub, tmp_path / "data", "text")
    found, sent, _ = taken(hub, tmp_path / "home", repo, BUDGET, column="text")
    assert found["again"] and sum(map(len, found["texts"])) == pytest.approx(BUDGET, rel=0.1)
    assert {text.split()[0] for text in found["texts"]} == {"0", "1", "2"}
    # `datasets` reads 10 MB of text at once, and the Hub's file system 5 MB more.
    assert sent <= 2 * BUDGET + 3 * (3 * 5 << 20) < total
    with pytest.raises(AssertionError, match=r'row 0 of hf://.* has no column "content"; did you mean "text"'):
        taken(hub, tmp_path / "home", repo, BUDGET)


def test_text_in_a_folder_is_read_as_training_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.csv").write_text("text,other\nthree,4\n")
    for name, expected in (("a.txt", ["one", "two"]), ("b.csv", ["three"])):
        folder = tmp_path / name[0]
        folder.mkdir()
        (tmp_path / name).rename(folder / name)
        assert list(sample(find_corpus(f"hub:{folder}").of("train"), "text", 1000)) == expected

"""Of a data set on the Hub only the sample is fetched, and it is the same as of the files here."""

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.hub_server.fixture import HubServer
from tests.launching import ROOT

NUM_FILES = 24
PROGRAM = """
import json, sys
from codeparrot.tokenizer.sample import find_corpus, sample
files = find_corpus(sys.argv[1])
chosen = sample(files.of("train"), "content", int(sys.argv[2]))
print(json.dumps({"valid": files.has("valid"), "texts": list(chosen), "again": list(chosen) == list(chosen)}))
"""


def taken(hub: HubServer, home: Path, repo: str, budget: int) -> tuple[dict, int, set[str]]:
    """Return the sample, the bytes that were fetched in ranges, and the files that were fetched whole."""
    hub.forget_requests()
    command = [sys.executable, "-c", PROGRAM, f"hub:{repo}", str(budget)]
    output = subprocess.check_output(command, env=hub.environment(home), text=True, cwd=ROOT)
    ranges = [request["range"] for request in hub.requests if request.get("range")]
    bounds = [each.removeprefix("bytes=").split("-") for each in ranges]
    whole = {
        request["path"].rpartition("/")[2]
        for request in hub.requests
        if request["method"] == "GET" and "/resolve/" in request["path"] and not request.get("range")
    }
    return json.loads(output), sum(int(last) - int(first) + 1 for first, last in bounds), whole


def publish(hub: HubServer, folder: Path, repo: str) -> None:
    hub.api().create_repo(repo, repo_type="dataset")
    hub.api().upload_folder(repo_id=repo, folder_path=folder, repo_type="dataset")


@pytest.mark.slow
def test_of_parquet_a_few_row_groups_of_many_files_are_fetched_once(hub: HubServer, tmp_path: Path) -> None:
    names = [f"train-{file:05d}-of-{NUM_FILES:05d}.parquet" for file in range(NUM_FILES)]
    (tmp_path / "data").mkdir()
    for file, name in enumerate(names):
        rows = pa.table({"content": [f"{file} {os.urandom(4000).hex()}" for _ in range(48)]})
        parquet.write_table(rows, tmp_path / "data" / name, row_group_size=8, compression="none", use_dictionary=False)
    parquet.write_table(pa.table({"content": ["held out"]}), tmp_path / "data" / "validation-00000-of-00001.parquet")
    publish(hub, tmp_path / "data", "me/parquet")
    total = sum(file.stat().st_size for file in (tmp_path / "data").iterdir())
    found, num_bytes, whole = taken(hub, tmp_path / "home", "me/parquet", 200_000)
    assert found["valid"] and found["again"] and not whole
    assert sum(map(len, found["texts"])) == pytest.approx(200_000, rel=0.1)
    assert len({text.split()[0] for text in found["texts"]}) >= 5, "from all over the data set"
    # The ends of 16 files, some of them again, and twice the budget.
    assert num_bytes < total / 3


@pytest.mark.slow
def test_of_packed_json_lines_as_many_files_are_fetched_as_the_sample_needs(hub: HubServer, tmp_path: Path) -> None:
    source = random.Random(0)
    (tmp_path / "data").mkdir()
    for file in range(8):
        rows = [{"content": f"{file} {source.randbytes(2000).hex()}"} for _ in range(25)]
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / "data" / f"file-{file:012d}.json.gz").write_bytes(gzip.compress(lines))
    publish(hub, tmp_path / "data", "me/packed")
    found, _, whole = taken(hub, tmp_path / "home", "me/packed", 150_000)
    assert not found["valid"] and found["again"]
    assert sum(map(len, found["texts"])) == pytest.approx(150_000, rel=0.1)
    assert {f"file-{int(text.split()[0]):012d}.json.gz" for text in found["texts"]} == {
        each for each in whole if each.endswith(".gz")
    }
    assert len(whole) < 8
    everything, *_ = taken(hub, tmp_path / "home", "me/packed", 10**7)
    assert len(everything["texts"]) == 8 * 25

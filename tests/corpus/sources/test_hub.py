import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from codeparrot.corpus.documents import ColumnNames, Reading, Record, Removed
from codeparrot.corpus.report.reading import read_statistics
from codeparrot.corpus.sources.hub import open_hub
from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers.hub import Name, parse
from tests.corpus.samples import COMMAND, modules, read
from tests.hub_server.fixture import HubServer


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 600 rows in two shards, and a test split."""
    folder = tmp_path_factory.mktemp("dataset")
    texts = [text.decode() for text in modules(60)]
    rows = [{"content": f"{texts[n % 60]}\n# {n}\n", "repo_name": f"me/{n % 5}", "stars": n} for n in range(600)]
    pq.write_table(pa.Table.from_pylist(rows[:300]), folder / "train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(rows[300:]), folder / "train-00001-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(rows[:1]), folder / "test-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("hub:squad", Name("squad", None, None)),
        ("hub:me/corpus", Name("me/corpus", None, None)),
        ("hub:me/corpus:python", Name("me/corpus", "python", None)),
        ("hub:me/corpus@v1.0", Name("me/corpus", None, "v1.0")),
        ("hub:me/corpus:python@refs/pr/1", Name("me/corpus", "python", "refs/pr/1")),
    ],
)
def test_a_name_may_have_a_configuration_and_a_revision(spec: str, name: Name) -> None:
    assert parse(spec) == name


def test_the_name_of_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a:b@c"
    folder.mkdir()
    assert parse(f"hub:{folder}") == Name(str(folder), None, None)


def records(spec: str, columns: ColumnNames | None = None) -> list[Record | Removed]:
    reading = Reading(0, 10**6, (".py",), columns or ColumnNames())
    return [record for unit in open_hub(spec, reading).units for record in unit.records()]


def test_a_folder_is_streamed_as_a_data_set_of_the_hub_would_be(dataset: Path) -> None:
    found = records(f"hub:{dataset}")
    assert len(found) == 600
    assert isinstance(found[599], Record)
    assert found[599][:3] == ("me/4", "599", "unknown")
    assert found[599].content == f"{modules(60)[59].decode()}\n# 599\n"


def test_splits_that_are_left_out_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "validation", "test"):
        pq.write_table(pa.table({"content": [split]}), tmp_path / f"{split}-00000-of-00001.parquet")
    (record,) = records(f"hub:{tmp_path}")
    assert isinstance(record, Record) and record.content == "train"
    assert "its train split is read, validation and test left out" in capsys.readouterr().err


def test_a_missing_column_is_an_error_that_names_the_flag(dataset: Path) -> None:
    with pytest.raises(CodeparrotError, match=r"no column \"contents\"; did you mean \"content\".*--columns.text"):
        records(f"hub:{dataset}", ColumnNames(text="contents"))


@pytest.mark.parametrize("spec", ["hub:", "hub:@main", "hub:../nowhere", "hub:a b", "hub:{dataset}:other"])
def test_names_that_cannot_be_are_errors(spec: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "{dataset}" in spec:  # a folder with a configuration that it does not have
        monkeypatch.chdir(dataset.parent)
        spec = spec.replace("{dataset}", f"./{dataset.name}")
    with pytest.raises(CodeparrotError):
        records(spec)


def publish(hub: HubServer, dataset: Path, repo: str) -> str:
    """Publish a data set and return its commit."""
    hub.api().create_repo(repo, repo_type="dataset")
    return hub.api().upload_folder(repo_id=repo, folder_path=dataset, repo_type="dataset").oid


KEEP_ALL = ["--near_duplicates.threshold", "0"]
"""Rows that differ only by a number are near duplicates, which would be removed."""


def command(folder: Path, spec: str) -> list[str | Path]:
    return [*COMMAND, "corpus", "build", "--source", spec, "--output", folder / "out", "--workers", "1", *KEEP_ALL]


def build(environment: dict[str, str], folder: Path, spec: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, spec), env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_data_set_is_streamed_from_the_hub_and_pinned_to_its_commit(hub: HubServer, dataset: Path, tmp_path: Path) -> None:
    commit = publish(hub, dataset, "me/corpus")
    held = hub.faults.stall(path="/me/corpus", skip=1, times=1)
    process = subprocess.Popen(command(tmp_path, "hub:me/corpus@main"), env=hub.environment(tmp_path / "home"))
    try:
        hub.wait_for_request("/me/corpus", fault="stall")
        # main moves on to a commit without files as soon as the build has asked which commit it names.
        names = [file.name for file in dataset.iterdir()]
        hub.api().delete_files("me/corpus", names, repo_type="dataset")
        hub.faults.remove(held)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    assert len(read(tmp_path / "out")) == 600
    source = read_statistics(tmp_path / "out")["sources"][0]
    assert (source["name"], source["revision"], source["split"]) == ("me/corpus", commit, "train")


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["hub:me/unknown", "hub:me/present@unknown"])
def test_what_the_hub_does_not_have_is_one_line(hub: HubServer, dataset: Path, tmp_path: Path, spec: str) -> None:
    if not hub.api().repo_exists("me/present", repo_type="dataset"):
        publish(hub, dataset, "me/present")
    result = build(hub.environment(tmp_path / "home"), tmp_path, spec)
    assert result.returncode == 1
    assert result.stderr.startswith(f"codeparrot: error: cannot read {spec}: ")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    result = build({**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9"}, tmp_path, "hub:me/corpus")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "check the name, your access to it and the network" in result.stderr


PROGRAM = """
import json, sys
from codeparrot.corpus.documents import ColumnNames, Reading
from codeparrot.corpus.sources.hub import open_hub
source = open_hub(sys.argv[1], Reading(0, 10**6, (".py",), ColumnNames()))
units = {unit.key: unit for unit in source.units}
wanted = sys.argv[2:] or list(units)
texts = {key: [record.content for record in units[key].records()] for key in wanted}
print(json.dumps({"listing": source.listing, "keys": list(units), "texts": texts}))
"""


FOOTER = 1 << 16
"""Bytes that Arrow reads from the end of a Parquet file."""


@pytest.mark.slow
def test_a_build_that_goes_on_fetches_the_row_groups_that_it_lacks(hub: HubServer, tmp_path: Path) -> None:
    texts = [os.urandom(20_000).hex() for _ in range(24)]
    (tmp_path / "data").mkdir()
    for file in range(2):
        rows = pa.table({"content": texts[file * 12 : file * 12 + 12]})
        pq.write_table(rows, tmp_path / "data" / f"train-{file}.parquet", row_group_size=3, compression="none")
    publish(hub, tmp_path / "data", "me/groups")

    def fetch(*keys: str) -> tuple[dict[str, Any], int]:
        command = [COMMAND[0], "-c", PROGRAM, "hub:me/groups", *keys]
        hub.forget_requests()
        output = subprocess.check_output(command, env=hub.environment(tmp_path / "home"), text=True)
        ranges = [request["range"] for request in hub.requests if request.get("range")]
        return json.loads(output), sum(map(length, ranges))

    everything, num_bytes = fetch()
    assert len(everything["keys"]) == len(set(everything["keys"])) == 8
    assert [text for key in everything["keys"] for text in everything["texts"][key]] == texts
    one, few_bytes = fetch(everything["keys"][6])
    assert (one["listing"], one["keys"]) == (everything["listing"], everything["keys"])
    assert one["texts"] == {everything["keys"][6]: texts[18:21]}
    assert few_bytes < num_bytes / 2
    # Both footers, one of them twice, and a little more than the texts: nothing is read ahead.
    assert few_bytes < 3 * FOOTER + 1.1 * sum(map(len, texts[18:21]))


def length(byte_range: str) -> int:
    first, last = byte_range.removeprefix("bytes=").split("-")
    return int(last) - int(first) + 1


def test_a_folder_of_a_data_set_may_be_named_as_the_stack_is(hub: HubServer, tmp_path: Path) -> None:
    assert parse("hub:bigcode/the-stack:data/python@v1.2") == Name("bigcode/the-stack", "data/python", "v1.2")
    for language in ("python", "java"):
        (tmp_path / "data" / language).mkdir(parents=True)
        pq.write_table(pa.table({"content": [language]}), tmp_path / "data" / language / "train-0.parquet")
    hub.api().create_repo("me/languages", repo_type="dataset")
    hub.api().upload_folder(repo_id="me/languages", folder_path=tmp_path, repo_type="dataset", allow_patterns=["data/**"])
    command = [COMMAND[0], "-c", PROGRAM, "hub:me/languages:data/python"]
    found = json.loads(subprocess.check_output(command, env=hub.environment(tmp_path / "home"), text=True))
    assert list(found["texts"].values()) == [["python"]]


@pytest.mark.parametrize("place", ["{here}/private.parquet", "hf://datasets/me/private/private.parquet"])
def test_a_card_cannot_name_files_elsewhere(hub: HubServer, tmp_path: Path, place: str) -> None:
    repo = f"me/hostile{len(place)}"
    pq.write_table(pa.table({"content": ["mine"]}), tmp_path / "private.parquet")
    if not hub.api().repo_exists("me/private", repo_type="dataset"):
        hub.api().create_repo("me/private", repo_type="dataset")
        hub.api().upload_folder(repo_id="me/private", folder_path=tmp_path, repo_type="dataset")
    (tmp_path / "data").mkdir()
    files = place.replace("{here}", str(tmp_path))
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: '{files}'\n---\n"
    (tmp_path / "data" / "README.md").write_text(card)
    publish(hub, tmp_path / "data", repo)
    result = build(hub.environment(tmp_path / "home"), tmp_path, f"hub:{repo}")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "don't belong to" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_packed_file_that_was_cut_is_an_error_that_names_the_data_set(tmp_path: Path, name: str) -> None:
    lines = b"".join(b'{"content": "x = %d"}\n' % number for number in range(300))
    (tmp_path / name).write_bytes((gzip.compress if name.endswith("gz") else zstandard.compress)(lines)[:-40])
    with pytest.raises(CodeparrotError, match=f"cannot read hub:{tmp_path}: "):
        for unit in open_hub(f"hub:{tmp_path}", Reading(0, 10**6, (".py",), ColumnNames())).units:
            list(unit.records())

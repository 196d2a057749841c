"""`owner/name[@revision]` loads from the Hub wherever a path is accepted, and only data files are downloaded."""

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from codeparrot.arguments import load_config
from codeparrot.corpus.report.command import report
from codeparrot.errors import CodeparrotError
from codeparrot.hub import fetch
from codeparrot.loading import corpus_here, find_model, load_tokenizer
from codeparrot.location import local_folder, split_hub_name
from codeparrot.publishing.folders import push_corpus, push_tokenizer
from codeparrot.publishing.ledger import Ledger
from codeparrot.publishing.uploader import push_all
from codeparrot.run import checkpoint
from codeparrot.stream.readers.folder import find_data
from tests.hub_server.fixture import HubServer
from tests.launching import require
from tests.publishing.runs import make_run
from tests.publishing.test_commit import COMMAND


@pytest.fixture
def run(here: HubServer, tmp_path: Path, tokenizer_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A run with two checkpoints on its branch, state included."""
    name = "".join(each for each in request.node.name if each.isalnum())[:80]
    run = make_run(tmp_path / name, tokenizer_folder, (8, 16), state=True)
    ledger = Ledger(run)
    ledger.open(load_config(run / "config.yaml").hub)
    push_all(ledger, 60, lambda turn: None)
    return run


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    """A corpus of two documents, as `corpus build` leaves it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    splits = {}
    for split in ("train", "valid"):
        name = f"{split}-00000-of-00001.parquet"
        row = {"repo_name": "me/a", "path": "a.py", "size": 15, "content": f"print('{split}')\n", "license": "mit"}
        parquet.write_table(pa.Table.from_pylist([row]), folder / name)
        shard = {"file": name, "documents": 1}
        splits[split] = {"documents": 1, "bytes": 15, "characters": 15, "repositories": 1, "shards": [shard]}
        splits[split]["repository_names"] = ["me/a"]
    empty = {"sources": [], "removed": {}, "licenses": {"mit": {"documents": 2, "bytes": 30}}}
    facts = {"documents": 2, "bytes": 30, "read": {"files": 2, "bytes": 30}, "splits": splits, **empty}
    (folder / "statistics.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# corpus\n", encoding="utf-8")
    (folder / "waterfall.png").write_bytes(b"picture")
    (folder / "removed").mkdir()
    (folder / "removed" / "samples.parquet").write_bytes(b"not for everybody")
    return folder


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("me/model", ("me/model", None)),
        ("me/model@run", ("me/model", "run")),
        ("hub:me/model@feature/x", ("me/model", "feature/x")),
        ("gpt2@607a30d783dfa663caf39e06633721c8d4cfcd7e", ("gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e")),
    ],
)
def test_names_on_the_hub_may_have_a_revision(name: str, meant: tuple) -> None:
    assert split_hub_name(name) == meant
    assert local_folder(name) is None


def test_a_folder_with_an_at_sign_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    assert local_folder(str(tmp_path / "a@b")) == tmp_path / "a@b"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tokk", "tok"),
        ("rns/tiny", "runs/tiny"),
        ("runs/tinny@main", "runs/tiny"),
        ("runs/tinny", "runs/tiny"),
        ("./tokk", "tok"),
    ],
)
def test_a_mistyped_folder_is_refused_with_the_right_one_before_the_hub_is_asked(name, meant, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tok").mkdir()
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    with pytest.raises(CodeparrotError, match=f'did you mean "{meant}"'):
        local_folder(name)


@pytest.mark.parametrize("name", ["gpt2", "me/tokenizer", "hub:tokk", "hub:rns/tiny", "codeparrot/codeparrot-small"])
def test_a_name_unlike_any_folder_is_one_of_the_hub(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("tok", "runs/tiny", "tests/tokenizer", "gpt2-small"):
        (tmp_path / folder).mkdir(parents=True)
    assert local_folder(name) is None


def test_a_model_is_that_of_its_revision_and_nothing_but_data(here: HubServer, run: Path) -> None:
    name = f"me/model@{run.name}"
    here.api().upload_file(repo_id="me/model", revision=run.name, path_or_fileobj=b"import os", path_in_repo="modeling_evil.py")
    here.api().upload_file(repo_id="me/model", revision=run.name, path_or_fileobj=b"pickle", path_in_repo="pytorch_model.bin")
    folder = Path(find_model(name))
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    weights = run / "checkpoints" / "step_00000016" / "model" / "model.safetensors"
    assert (folder / "model.safetensors").read_bytes() == weights.read_bytes()
    eight = here.commits("me/model", run.name)[1].oid
    weights = run / "checkpoints" / "step_00000008" / "model" / "model.safetensors"
    assert (Path(find_model(f"me/model@{eight}")) / "model.safetensors").read_bytes() == weights.read_bytes()


def test_what_was_downloaded_before_serves_when_the_hub_cannot_be_reached(here: HubServer, run: Path, caplog) -> None:
    name = f"me/model@{run.name}"
    folder = find_model(name)
    here.faults.refuse()
    assert find_model(name) == folder
    with pytest.raises(CodeparrotError, match=r"cannot read the model .*; try again when the Hub can be reached"):
        find_model("me/other")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["me/nothing", "me/model@nowhere"])
def test_what_the_hub_does_not_have_is_one_line(here: HubServer, run: Path, name: str) -> None:
    with pytest.raises(CodeparrotError, match=f'cannot read the model "{name}" from the Hub') as error:
        find_model(name)
    assert "\n" not in str(error.value)


def test_a_tokenizer_is_pushed_and_loaded_by_name(here: HubServer, tokenizer_folder: Path) -> None:
    result = push_tokenizer(str(tokenizer_folder), "me/tokenizer", branch="v1")
    assert result.data["changed"]
    assert not push_tokenizer(str(tokenizer_folder), "me/tokenizer", branch="v1").data["changed"]
    assert len(here.commits("me/tokenizer", "v1")) == 2
    assert "512 tokens" in here.files("me/tokenizer", "v1")["README.md"].decode()
    loaded = load_tokenizer("me/tokenizer@v1")
    assert loaded.backend_tokenizer.to_str() == load_tokenizer(str(tokenizer_folder)).backend_tokenizer.to_str()


def test_a_corpus_is_pushed_with_its_card_and_splits_and_read_by_name(
    here: HubServer, small_corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    push_corpus(str(small_corpus), "me/corpus")
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"pushing {small_corpus} to me/corpus@main: ")
    files = here.files("me/corpus", kind="datasets")
    assert {path.name for path in small_corpus.iterdir() if path.is_file()} == set(files) - {".gitattributes"}
    assert report("me/corpus@main").data["documents"] == 2
    (valid,) = find_data(corpus_here("me/corpus")).of("valid")
    assert parquet.read_table(valid)["content"].to_pylist() == ["print('valid')\n"]


def test_a_corpus_that_is_not_whole_is_not_pushed(here: HubServer, small_corpus: Path) -> None:
    next(small_corpus.glob("train-*")).unlink()
    with pytest.raises(CodeparrotError, match="is missing; build the corpus again"):
        push_corpus(str(small_corpus), "me/half")
    assert not here.api().repo_exists("me/half", repo_type="dataset")


def test_a_push_that_breaks_off_is_finished_by_the_next(here: HubServer, small_corpus: Path) -> None:
    here.faults.answer(503, times=1, path="/commit/")
    with pytest.raises(CodeparrotError, match="try again when the Hub can be reached"):
        push_corpus(str(small_corpus), "me/later")
    assert push_corpus(str(small_corpus), "me/later").data["changed"]


def test_a_push_takes_its_own_earlier_files_from_the_branch(
    here: HubServer, small_corpus: Path, tokenizer_folder: Path
) -> None:
    api = here.api()
    for kind, stale in (("dataset", "train-00001-of-00002.parquet"), ("model", "merges.txt")):
        api.create_repo("me/again", repo_type=kind)
        for name in (stale, "README.md"):
            api.upload_file(repo_id="me/again", repo_type=kind, path_or_fileobj=b"old", path_in_repo=name)
    push_corpus(str(small_corpus), "me/again")
    push_tokenizer(str(tokenizer_folder), "me/again")
    assert "train-00001-of-00002.parquet" not in here.files("me/again", kind="datasets")
    assert "merges.txt" not in here.files("me/again")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "plots/loss.json", "LICENSE"])
def test_a_tokenizer_takes_nothing_else_from_a_branch(here: HubServer, tokenizer_folder: Path, name: str) -> None:
    repo = f"me/foreign-{name.replace('/', '-')}"
    here.api().create_repo(repo)
    here.api().upload_file(repo_id=repo, path_or_fileobj=b"weights", path_in_repo=name)
    with pytest.raises(CodeparrotError, match=rf"{repo}@main holds .*{name}.*; name another --repo or --branch") as error:
        push_tokenizer(str(tokenizer_folder), repo)
    assert "\n" not in str(error.value)
    assert here.files(repo)[name] == b"weights" and "tokenizer.json" not in here.files(repo)


def test_a_corpus_takes_nothing_else_from_a_branch(here: HubServer, small_corpus: Path) -> None:
    here.api().create_repo("me/foreign", repo_type="dataset")
    for index in range(5):
        name = f"data/part-{index}.parquet"
        here.api().upload_file(repo_id="me/foreign", repo_type="dataset", path_or_fileobj=b"rows", path_in_repo=name)
    with pytest.raises(CodeparrotError, match=r"data/part-0\.parquet, .* and 2 more"):
        push_corpus(str(small_corpus), "me/foreign")
    assert len([name for name in here.files("me/foreign", kind="datasets") if name.startswith("data/")]) == 5


def test_a_run_goes_on_from_what_was_pushed_with_its_state(here: HubServer, run: Path, tmp_path: Path) -> None:
    place = fetch.resumable(f"hub:me/model@{run.name}", tmp_path / "new" / "checkpoints")
    assert place.name == "step_00000016" and checkpoint.fault(place) is None
    assert (place.parent.parent / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert [path.name for path in place.parent.iterdir()] == [place.name], "nothing else is left"


def test_an_average_of_the_weights_is_on_the_branch_and_comes_with_the_state(
    here: HubServer, tmp_path: Path, tokenizer_folder: Path
) -> None:
    run = make_run(tmp_path / "averaged", tokenizer_folder, (8,), average=True, state=True)
    ledger = Ledger(run)
    ledger.open(load_config(run / "config.yaml").hub)
    push_all(ledger, 60, lambda turn: None)
    names = here.files("me/model", "averaged")
    assert {"ema/config.json", "ema/model.safetensors", "model.safetensors"} <= set(names)
    place = fetch.resumable("hub:me/model@averaged", tmp_path / "new" / "checkpoints")
    assert checkpoint.fault(place) is None and (place / "ema" / "model.safetensors").is_file()


@pytest.mark.slow
def test_an_interrupted_download_leaves_no_checkpoint_and_goes_on(here: HubServer, run: Path, tmp_path: Path) -> None:
    rule = here.faults.cut_download(1000, path="model.safetensors")
    with pytest.raises(CodeparrotError):
        fetch.resumable(f"hub:me/model@{run.name}", tmp_path / "checkpoints")
    assert not checkpoint.steps(tmp_path / "checkpoints")
    here.faults.remove(rule)
    assert checkpoint.fault(fetch.resumable(f"hub:me/model@{run.name}", tmp_path / "checkpoints")) is None


def test_a_download_that_nobody_wants_any_more_ends(here: HubServer, run: Path, tmp_path: Path) -> None:
    come: list[int] = []

    def counted(num_bytes: int) -> None:
        come.append(num_bytes)
        raise CodeparrotError("no longer wanted")

    with pytest.raises(CodeparrotError, match="no longer wanted"):
        fetch.resumable(f"hub:me/model@{run.name}", tmp_path / "checkpoints", counted)
    assert come and not checkpoint.steps(tmp_path / "checkpoints")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../../escape.json"], "manifest.json is damaged"),
        (["/etc/passwd"], "manifest.json is damaged"),
        (["model/absent.safetensors"], "absent.safetensors is missing there"),
    ],
)
def test_a_manifest_from_the_hub_is_not_trusted(here: HubServer, run: Path, tmp_path: Path, names: list, message: str) -> None:
    manifest = json.loads((run / "checkpoints" / "step_00000016" / "manifest.json").read_text())
    manifest["files"] = {name: {"bytes": 1, "sha256": ""} for name in names}
    here.api().upload_file(
        repo_id="me/model",
        revision=run.name,
        path_or_fileobj=json.dumps(manifest).encode(),
        path_in_repo="checkpoint/manifest.json",
    )
    with pytest.raises(CodeparrotError, match=message):
        fetch.resumable(f"hub:me/model@{run.name}", tmp_path / "checkpoints")
    assert not checkpoint.steps(tmp_path / "checkpoints")


def test_weights_that_are_not_those_of_the_manifest_are_refused(here: HubServer, run: Path, tmp_path: Path) -> None:
    weights = bytearray((run / "checkpoints" / "step_00000016" / "model" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    here.api().upload_file(
        repo_id="me/model", revision=run.name, path_or_fileobj=bytes(weights), path_in_repo="model.safetensors"
    )
    with pytest.raises(CodeparrotError, match="another SHA-256"):
        fetch.resumable(f"hub:me/model@{run.name}", tmp_path / "checkpoints")


def test_a_branch_without_state_says_what_it_lacks(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    run = make_run(tmp_path / "stateless", tokenizer_folder, (8,))
    ledger = Ledger(run)
    ledger.open(load_config(run / "config.yaml").hub)
    push_all(ledger, 60, lambda turn: None)
    shutil.rmtree(run)
    with pytest.raises(CodeparrotError, match=r"holds a model and no state; it was pushed without hub\.state"):
        fetch.resumable("hub:me/model@stateless", tmp_path / "checkpoints")


@pytest.mark.slow
def test_a_model_of_the_hub_is_evaluated_by_unit_tests(here: HubServer, run: Path, tmp_path: Path) -> None:
    require("bwrap", "generated programs run in it")
    name = f"me/model@{run.name}"
    command = [
        *COMMAND,
        "eval",
        "humaneval",
        "--checkpoint",
        name,
        "--problems",
        "codeparrot",
        "--limit",
        "2",
        "--samples",
        "1",
    ]
    command += ["--k", "1", "--max_new_tokens", "8", "--output", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, env=here.environment(), capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert (report["problems"], report["samples"], report["pass@1"]) == (2, 2, 0.0)
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 2

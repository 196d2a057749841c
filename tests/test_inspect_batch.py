"""`codeparrot inspect` shows what a step trained on, from every place where it can start."""

import json
import shutil
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml

from codeparrot.arguments import load_config
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.inspect_batch import inspect
from codeparrot.run.origin import same_order
from codeparrot.stream import ConstantLengthDataset, make_encoder
from tests.launching import run, write_config

BATCH = 8


@pytest.fixture(scope="module")
def trained(tmp_path_factory, corpus, tokenizer_folder) -> Path:
    """A run of 6 steps with checkpoints at 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(
        folder / "c.yaml",
        corpus,
        tokenizer_folder,
        train={"global_batch_size": BATCH, "micro_batch_size": 2, "max_steps": 6, "precision": "fp32", "log_every_steps": 1},
        checkpoint={"every_steps": 2},
        schedule={"warmup_steps": 1},
    )
    run(config)
    return folder / "runs" / "tiny"


@pytest.fixture
def tiny(trained, tmp_path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(trained, tmp_path / "tiny")


def expected(config: Config, tokenizer_json: str, step: int) -> np.ndarray:
    """Walk from the start, as two processes do, to the batch of a step."""
    share = BATCH // 2
    out = np.empty((BATCH, config.stream.seq_length), np.int64)
    for rank in range(2):
        encoder = make_encoder(tokenizer_json, 0)
        dataset = ConstantLengthDataset(config.stream, encoder, seed=config.run.seed, rank=rank, world_size=2)
        out[rank::2] = list(islice(dataset, (step - 1) * share, step * share))
    return out


def input_ids(folder: Path, step: int) -> list[list[int]]:
    return [window["input_ids"] for window in inspect(str(folder), step).data["windows"]]


def rewrite(folder: Path, **changes: dict[str, Any] | str) -> Config:
    """Change config.yaml of a run."""
    path = folder / "config.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, values in changes.items():
        data[section] = {**data[section], **values} if isinstance(values, dict) else values
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 40])
def test_a_step_before_at_or_behind_a_checkpoint_is_what_two_processes_see(trained, tokenizer_json, step) -> None:
    config = load_config(trained / "config.yaml")
    np.testing.assert_array_equal(input_ids(trained, step), expected(config, tokenizer_json, step))


def test_the_run_consumed_what_is_shown(trained) -> None:
    """Inspecting a real run ends at the stream position in its checkpoint."""
    state = json.loads((trained / "checkpoints" / "step_00000006" / "stream.json").read_text(encoding="utf-8"))
    shown = inspect(str(trained), 6).data["windows"]
    assert {(window["lane"], window["window"]) for window in shown[-4:]} == {
        (int(lane), position[0] - 1) for lane, position in state["lanes"].items()
    }


def test_windows_are_decoded_and_their_documents_lie_where_they_are_said_to_lie(trained) -> None:
    result = inspect(str(trained), 5)
    assert json.loads(json.dumps(result.data)) == result.data
    assert [(window["position"], window["lane"]) for window in result.data["windows"]] == [(j, j % 4) for j in range(BATCH)]
    for window in result.data["windows"]:
        assert sum(stop - start for start, stop in (document["tokens"] for document in window["documents"])) == 32
        for part, document in zip(window["text"].split("<|endoftext|>"), window["documents"], strict=False):
            text = parquet.read_table(document["file"])["content"][document["row"]].as_py()
            assert part.strip("\ufffd") in text
            assert document["path"] == f"{Path(document['file']).stem}/{document['row']}.py"
            assert f"{document['file']}, row {document['row']}, path {document['path']}" in result.text
    assert "=== row 7: lane 3, window 9" in result.text


def test_without_text_only_the_places_are_shown(trained) -> None:
    with_text, without = inspect(str(trained), 3), inspect(str(trained), 3, text=False)
    assert len(without.data["windows"]) == BATCH
    assert all("text" not in window and window["documents"] for window in without.data["windows"])
    assert len(without.text.splitlines()) < len(with_text.text.splitlines())


@pytest.mark.slow
def test_windows_that_were_tokenised_before_are_shown(corpus, tokenizer_folder, tmp_path) -> None:
    from codeparrot.corpus.tokenize import tokenize

    tokenize(str(corpus), str(tokenizer_folder), str(tmp_path / "windows"), seq_length=32)
    train = {"global_batch_size": 4, "micro_batch_size": 2, "max_steps": 1}
    data: dict[str, Any] = {"train": [str(tmp_path / "windows")], "valid": []}
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train=train, stream=data, schedule={"warmup_steps": 1})
    run(config)
    files = [np.load(file) for file in (tmp_path / "windows").glob("train-*.npy")]
    assert {file.dtype for file in files} == {np.dtype(np.uint16)}
    known = {tuple(row) for file in files for row in file.tolist()}
    assert {tuple(row) for row in input_ids(tmp_path / "runs" / "tiny", 1)} <= known


def test_nothing_in_the_run_is_changed(trained) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    inspect(str(trained), 5)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_without_checkpoints_or_with_damaged_ones_it_walks_from_before(tiny, trained) -> None:
    (tiny / "checkpoints" / "step_00000004" / "stream.json").write_text("{", encoding="utf-8")
    assert input_ids(tiny, 5) == input_ids(trained, 5)
    (tiny / "checkpoints" / "step_00000002" / "manifest.json").unlink()
    assert input_ids(tiny, 5) == input_ids(trained, 5)
    shutil.rmtree(tiny / "checkpoints")
    assert input_ids(tiny, 5) == input_ids(trained, 5)


@pytest.mark.slow
def test_a_tokenizer_that_is_gone_or_another_is_taken_from_a_checkpoint(tiny, trained, tokenizer_folder, tmp_path) -> None:
    rewrite(tiny, tokenizer={"path": str(tmp_path / "gone")})
    assert input_ids(tiny, 3) == input_ids(trained, 3)
    other = shutil.copytree(tokenizer_folder, tmp_path / "other")
    text = (other / "tokenizer.json").read_text(encoding="utf-8")
    settings = json.loads(text)
    settings["model"]["merges"] = settings["model"]["merges"][:50]
    (other / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    rewrite(tiny, tokenizer={"path": str(other)})
    assert input_ids(tiny, 3) == input_ids(trained, 3)
    shutil.rmtree(tiny / "checkpoints")
    rewrite(tiny, tokenizer={"path": str(tmp_path / "gone")})
    with pytest.raises(CodeparrotError, match="gone"):
        inspect(str(tiny), 3)


def go_on(trained: Path, *arguments: str) -> None:
    """Train once more with the configuration file of the run."""
    run(trained.parent.parent / "c.yaml", *arguments)


def walked(config: Config, tokenizer_json: str, checkpoint: Path, steps: int) -> np.ndarray:
    """Walk from a checkpoint's place, in the order of `config`, to the batch of a later step."""
    dataset = ConstantLengthDataset(config.stream, make_encoder(tokenizer_json, 0), seed=config.run.seed)
    dataset.load_state_dict(json.loads((checkpoint / "stream.json").read_text(encoding="utf-8")))
    return np.array(list(islice(dataset, (steps - 1) * BATCH, steps * BATCH)))


@pytest.mark.slow
def test_a_branch_in_the_same_order_is_the_same_stream_from_its_beginning(trained, tmp_path) -> None:
    branch = tmp_path / "branch"
    named = str(trained / "checkpoints" / "step_00000002")
    go_on(trained, "--run.dir", str(tmp_path), "--run.name", "branch", "--resume", named, "--optim.lr", "0.1")
    for step in (1, 4, 6):
        assert input_ids(branch, step) == input_ids(trained, step)


@pytest.mark.slow
def test_a_branch_in_another_order_begins_where_it_was_begun(trained, tmp_path, tokenizer_json) -> None:
    """The first two starts are the branch's own; by the third, its source and the checkpoint nearest to it are gone."""
    branch, source = tmp_path / "branch", shutil.copytree(trained, tmp_path / "source")
    named = source / "checkpoints" / "step_00000002"
    go_on_as = ["--run.dir", str(tmp_path), "--run.name", "branch", "--run.seed", "5", "--checkpoint.every_steps", "1"]
    go_on(trained, *go_on_as, "--resume", str(named))
    config = load_config(branch / "config.yaml")
    expected = {step: walked(config, tokenizer_json, named, step - 2) for step in (3, 4, 8)}
    shutil.rmtree(source)
    shutil.rmtree(branch / "checkpoints" / "step_00000006")
    go_on(trained, *go_on_as, "--checkpoint.keep_last", "1")
    assert [path.name for path in (branch / "checkpoints").iterdir()] == ["step_00000006"]
    for step, windows in expected.items():
        np.testing.assert_array_equal(input_ids(branch, step), windows)
    with pytest.raises(CodeparrotError, match=rf"begins at step 3: inspect the run that {named} belongs to"):
        inspect(str(branch), 2)


@pytest.mark.parametrize(
    ("section", "name", "value", "same"),
    [
        ("run", "seed", 5, False),
        ("train", "global_batch_size", 16, False),
        ("stream", "block_documents", 5, False),
        ("stream", "seq_length", 16, False),
        ("stream", "train", "elsewhere", True),
        ("stream", "prefetch_batches", 9, True),
        ("train", "micro_batch_size", 4, True),
        ("optim", "lr", 0.1, True),
    ],
)
def test_what_changes_the_order_of_the_batches(trained, section, name, value, same) -> None:
    config = load_config(trained / "config.yaml")
    saved = asdict(config)
    assert same_order(saved, config)
    saved[section][name] = value
    assert same_order(saved, config) == same


@pytest.mark.slow
def test_a_branch_on_other_data_begins_at_their_start(trained, tmp_path, corpus, tokenizer_json) -> None:
    named = trained / "checkpoints" / "step_00000004"
    data = str(next(corpus.glob("train-00000*")))
    go_on(trained, "--run.dir", str(tmp_path), "--run.name", "branch", "--resume", str(named), "--stream.train", data)
    config = load_config(tmp_path / "branch" / "config.yaml")
    np.testing.assert_array_equal(input_ids(tmp_path / "branch", 6), expected(config, tokenizer_json, 2))
    # The same command continues the branch: data that have changed by then start no new phase.
    other = ["--stream.train", str(next(corpus.glob("train-00001*")))]
    again = ["--run.dir", str(tmp_path), "--run.name", "branch", "--resume", str(named)]
    _, err = run(trained.parent.parent / "c.yaml", *again, *other, status=1)
    assert "holds different files from those the run began with" in err


@pytest.mark.slow
def test_checkpoints_of_a_run_that_went_back_and_on_in_another_order_are_not_gone_on_from(tiny, tokenizer_json) -> None:
    """The earlier, newer checkpoints stay: step 4 was done twice, and the second time counts."""
    named = tiny / "checkpoints" / "step_00000002"
    again = ["--run.dir", str(tiny.parent), "--stream.block_documents", "5", "--resume", str(named)]
    write = ["--checkpoint.every_steps", "0", "--checkpoint.keep_last", "10", "--train.max_steps", "3"]
    config_file = tiny.parent / "c.yaml"
    shutil.copy(tiny / "config.yaml", config_file)
    run(config_file, *again, *write)
    config = load_config(tiny / "config.yaml")
    assert {path.name for path in (tiny / "checkpoints").iterdir()} > {"step_00000003", "step_00000006"}
    for step in (5, 7):
        np.testing.assert_array_equal(input_ids(tiny, step), walked(config, tokenizer_json, named, step - 2))


def test_a_run_whose_origin_is_not_known_is_not_guessed_at(tiny) -> None:
    (tiny / "origin.json").unlink()
    with pytest.raises(CodeparrotError, match=r"origin\.json cannot be read .*, so nothing says where the data of .* begins"):
        inspect(str(tiny), 3)


@pytest.mark.slow
def test_a_checkpoint_without_an_origin_becomes_one(tiny, trained) -> None:
    """Earlier versions wrote such checkpoints."""
    config_file = tiny.parent / "c.yaml"
    shutil.copy(tiny / "config.yaml", config_file)
    for path in (tiny / "checkpoints").glob("*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        del manifest["origin"]
        path.write_text(json.dumps(manifest), encoding="utf-8")
    (tiny / "origin.json").unlink()
    shutil.rmtree(tiny / "checkpoints" / "step_00000006")
    run(config_file, "--run.dir", str(tiny.parent))
    assert input_ids(tiny, 6) == input_ids(trained, 6)
    with pytest.raises(CodeparrotError, match="begins at step 5"):
        inspect(str(tiny), 4)


def test_data_that_changed_since_are_an_error(tiny, corpus, tmp_path) -> None:
    moved = shutil.copytree(corpus, tmp_path / "moved")
    rewrite(tiny, stream={"train": str(moved)})
    inspect(str(tiny), 1)
    shutil.copy(next(moved.glob("valid-*")), moved / "train-more.parquet")
    for step in (1, 5):
        with pytest.raises(CodeparrotError, match="holds different files from those the run began with"):
            inspect(str(tiny), step)
    rewrite(tiny, stream={"train": "nowhere/corpus.parquet"})
    with pytest.raises(CodeparrotError, match=r"nowhere/corpus\.parquet does not exist.*relative paths are taken from"):
        inspect(str(tiny), 1)


def test_mistakes_are_named(trained, tmp_path) -> None:
    with pytest.raises(CodeparrotError, match="--step is 0; steps are counted from 1"):
        inspect(str(trained), 0)
    with pytest.raises(CodeparrotError, match="--step is 9000000000000000000; it must be at most"):
        inspect(str(trained), 9 * 10**18)
    with pytest.raises(CodeparrotError, match=r'there is no folder .*tinny"; did you mean .*tiny"\?'):
        inspect(str(trained.with_name("tinny")), 1)
    for name in (str(tmp_path), "nobody"):
        with pytest.raises(CodeparrotError, match=r"is not a run: there is no .*config\.yaml"):
            inspect(name, 1)

"""`codeparrot inspect`: that it shows what a step trained on, from every place that it can start from."""

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml

from codeparrot.config import Config, load
from codeparrot.errors import CodeparrotError
from codeparrot.inspect_batch import inspect
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
    return load(path)


def save(folder: Path, step: int, dataset: ConstantLengthDataset, like: Path, config: Config) -> None:
    """Write a checkpoint of the stream alone, in all else like another one."""
    place = folder / "checkpoints" / f"step_{step:08d}"
    shutil.copytree(like / "model", place / "model")
    (place / "stream.json").write_text(json.dumps(dataset.state_dict()), encoding="utf-8")
    manifest = json.loads((like / "manifest.json").read_text(encoding="utf-8"))
    changes = {"step": step, "config": yaml.safe_load(config.to_yaml())}
    (place / "manifest.json").write_text(json.dumps({**manifest, **changes}), encoding="utf-8")


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 40])
def test_a_step_before_at_or_behind_a_checkpoint_is_what_two_processes_see(trained, tokenizer_json, step) -> None:
    config = load(trained / "config.yaml")
    np.testing.assert_array_equal(input_ids(trained, step), expected(config, tokenizer_json, step))


def test_the_run_consumed_what_is_shown(trained) -> None:
    """What a real training run's checkpoint says of the stream is where inspecting it ends."""
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
    assert all("text" not in window and window["documents"] for window in without.data["windows"])
    assert len(without.text.splitlines()) < len(with_text.text.splitlines())


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


def branch(trained: Path, folder: Path, resume: Path, **changes: Any) -> Config:
    """Lay out a run that was begun from a named checkpoint."""
    folder.mkdir()
    shutil.copy(trained / "config.yaml", folder)
    return rewrite(folder, resume=str(resume), **changes)


def test_a_run_that_was_begun_from_a_named_checkpoint_goes_on_from_its_stream(trained, tmp_path) -> None:
    branch(trained, tmp_path / "branch", trained / "checkpoints" / "step_00000002", optim={"lr": 0.1})
    assert input_ids(tmp_path / "branch", 4) == input_ids(trained, 4)
    with pytest.raises(CodeparrotError, match="begins at step 3: inspect the run"):
        inspect(str(tmp_path / "branch"), 2)


def test_a_run_on_other_data_begins_at_their_start_behind_the_named_checkpoint(
    trained, tmp_path, corpus, tokenizer_json
) -> None:
    data = {"train": str(next(corpus.glob("train-00000*")))}
    config = branch(trained, tmp_path / "branch", trained / "checkpoints" / "step_00000004", stream=data)
    np.testing.assert_array_equal(input_ids(tmp_path / "branch", 7), expected(config, tokenizer_json, 3))


def test_a_run_that_was_begun_from_a_run_takes_what_was_its_newest_checkpoint_then(trained, tmp_path, tokenizer_json) -> None:
    data = {"block_documents": 5}
    folder = tmp_path / "branch"
    branch(trained, folder, trained, stream=data)
    (folder / "metrics.jsonl").write_text('{"step": 5, "loss": 1.0}\n', encoding="utf-8")
    named = branch(trained, tmp_path / "named", trained / "checkpoints" / "step_00000004", stream=data)
    assert named.stream.block_documents == 5
    assert input_ids(folder, 6) == input_ids(tmp_path / "named", 6)


def test_a_run_goes_on_being_known_when_it_was_continued_and_its_source_is_gone(trained, tmp_path, tokenizer_json) -> None:
    folder, source = tmp_path / "branch", trained / "checkpoints" / "step_00000002"
    begun = branch(trained, folder, source, run={"seed": 5})
    at_4 = input_ids(folder, 4)
    dataset = ConstantLengthDataset(begun.stream, make_encoder(tokenizer_json, 0), seed=5)
    dataset.load_state_dict(json.loads((source / "stream.json").read_text(encoding="utf-8")))
    list(islice(dataset, 2 * BATCH))
    save(folder, 4, dataset, source, begun)
    at_5 = np.array(list(islice(dataset, BATCH)))
    rewrite(folder, resume="auto")
    assert input_ids(folder, 4) == at_4
    begun = rewrite(folder, resume=str(tmp_path / "gone"))
    shutil.rmtree(folder / "checkpoints")
    dataset.load_state_dict(json.loads((source / "stream.json").read_text(encoding="utf-8")))
    list(islice(dataset, 2 * BATCH))
    save(folder, 4, dataset, source, begun)
    np.testing.assert_array_equal(input_ids(folder, 5), at_5)
    with pytest.raises(CodeparrotError, match=r"begun from .*gone, which is gone"):
        inspect(str(folder), 4)


def test_a_run_whose_stream_did_not_begin_with_it_is_not_guessed_at(trained, tmp_path, tokenizer_json) -> None:
    folder, source = tmp_path / "branch", trained / "checkpoints" / "step_00000002"
    config = branch(trained, folder, Path("auto"))
    dataset = ConstantLengthDataset(config.stream, make_encoder(tokenizer_json, 0))
    list(islice(dataset, BATCH))
    save(folder, 4, dataset, source, config)
    inspect(str(folder), 5)
    with pytest.raises(CodeparrotError, match="those behind step_00000004 can be inspected"):
        inspect(str(folder), 4)


@pytest.mark.parametrize("change", [{"stream": {"block_documents": 5}}, {"run": {"seed": 5}}])
def test_checkpoints_in_another_order_are_not_gone_on_from(tiny, trained, tokenizer_json, change) -> None:
    """A run that went back to a checkpoint of its own with another order leaves newer ones of before behind."""
    before = load(tiny / "config.yaml")
    dataset = ConstantLengthDataset(before.stream, make_encoder(tokenizer_json, 0), seed=before.run.seed)
    list(islice(dataset, 4000))  # far on, where other documents come
    place = tiny / "checkpoints" / "step_00000004"
    shutil.rmtree(place)
    save(tiny, 4, dataset, tiny / "checkpoints" / "step_00000002", before)
    rewrite(tiny, resume=str(tiny / "checkpoints" / "step_00000002"), **change)
    shown = input_ids(tiny, 5)
    shutil.rmtree(place)
    assert input_ids(tiny, 5) == shown


def test_data_that_changed_since_are_an_error(tiny, corpus, tmp_path) -> None:
    moved = shutil.copytree(corpus, tmp_path / "moved")
    rewrite(tiny, stream={"train": str(moved)})
    inspect(str(tiny), 1)
    shutil.copy(next(moved.glob("valid-*")), moved / "train-more.parquet")
    for step in (1, 5):
        with pytest.raises(CodeparrotError, match="holds other files than those the run began with"):
            inspect(str(tiny), step)
    rewrite(tiny, stream={"train": "nowhere/corpus.parquet"})
    with pytest.raises(CodeparrotError, match=r"nowhere/corpus\.parquet does not exist.*relative paths are taken from"):
        inspect(str(tiny), 1)


def test_mistakes_are_named(trained, tmp_path) -> None:
    with pytest.raises(CodeparrotError, match="--step is 0; steps are counted from 1"):
        inspect(str(trained), 0)
    with pytest.raises(CodeparrotError, match=r'there is no folder .*tinny"; did you mean .*tiny"\?'):
        inspect(str(trained.with_name("tinny")), 1)
    for name in (str(tmp_path), "nobody"):
        with pytest.raises(CodeparrotError, match=r"is no run: there is no .*config\.yaml"):
            inspect(name, 1)

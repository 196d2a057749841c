"""A run on a mixture: what it says of its sources, and that it goes on exactly."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import python_sources
from tests.launching import ROOT, completed, curve, lines, run, started, train_command, write_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources: many documents, and a few that a run reads several times; each has its own validation documents."""
    folder = tmp_path_factory.mktemp("places")
    texts = python_sources(150)
    for name, part in {"large/train": texts[:100], "large/valid": texts[100:110], "small/train": texts[110:122]}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        rows = [
            json.dumps({"content": text[: 2000 if "large" in name else 200], "path": f"{name}/{number}.py"})
            for number, text in enumerate(part)
        ]
        (folder / f"{name}-0.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "small-valid.jsonl").write_text(json.dumps({"content": texts[130][:2000]}) + "\n", encoding="utf-8")
    return folder


def sources(places: Path, weight: float = 3) -> dict[str, Any]:
    small = {"path": str(places / "small"), "epochs": 1, "valid": str(places / "small-valid.jsonl")}
    phases = [{"until": 0.5}, {"until": 1, "weights": {"large": 1, "small": 1}}]
    return {
        "train": [{"path": str(places / "large"), "weight": weight}, small],
        "phases": phases,
        "valid": str(places / "large"),
    }


@pytest.fixture(scope="module")
def trained(places: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("mixture")
    changes: dict[str, Any] = {"stream": sources(places), "evaluate": {"every_steps": 8, "sample_tokens": 0}}
    config = write_config(folder / "tiny.yaml", places, tokenizer_folder, **changes)
    _, log = run(config)
    return config, log


def test_a_run_says_what_it_reads_of_each_source(trained) -> None:
    config, log = trained
    directory = config.parent / "runs" / "tiny"
    assert "source      large: 62.5% of the windows, 3,840 tokens, how many epochs is not known" in log
    assert "(epochs: 1)" in log and "phase       until step 12: weights of the sources" in log
    assert log.count("the source small is being read more than 1 epochs") == 1
    assert "sources up to step 24 | large 6" in log
    last = [line for line in lines(directory) if "sources" in line][-1]
    large, small = last["sources"]
    assert (large["name"], small["name"], large["weight"]) == ("large", "small", 3)
    assert large["tokens"] + small["tokens"] == last["tokens"] == 24 * 8 * 32
    assert large["share"] == pytest.approx(0.625, abs=0.04)
    assert small["epochs"] > 1 > large["epochs"] > 0
    manifest = json.loads((directory / "checkpoints" / "step_00000024" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sources"] == last["sources"]
    measured = [line for line in lines(directory) if line.get("set") == "small"]
    assert [line["step"] for line in measured] == [0, 8, 16, 24] and all(line["set_loss"] > 0 for line in measured)


def test_a_run_goes_on_exactly_from_moved_sources_and_keeps_its_weights(trained, places, tmp_path) -> None:
    config, _ = trained
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    moved = shutil.copytree(places, tmp_path / "moved")
    settings["run"]["dir"], settings["stream"] = str(tmp_path), settings["stream"] | sources(moved)
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(settings), encoding="utf-8")
    shutil.copytree(config.parent / "runs" / "tiny", tmp_path / "tiny")
    for step in (16, 24):
        shutil.rmtree(tmp_path / "tiny" / "checkpoints" / f"step_{step:08d}")
    refused = completed(
        [*train_command(1), "--config", str(again), "--stream.train", json.dumps(sources(moved, 2)["train"])], tmp_path
    )
    assert refused.returncode == 1 and "weights in stream.train: [3, 1] -> [2, 1]" in refused.stderr
    refused = completed([*train_command(1), "--config", str(again), "--stream.phases", "[]"], tmp_path)
    assert refused.returncode == 1 and "stream.phases: " in refused.stderr
    run(again)
    assert curve(tmp_path / "tiny") == curve(config.parent / "runs" / "tiny")


def test_a_run_that_begins_at_a_checkpoint_with_other_weights_goes_on_in_each_source(trained, places, tmp_path) -> None:
    config, _ = trained
    directory = config.parent / "runs" / "tiny"
    place = directory / "checkpoints" / "step_00000008"
    train = json.dumps(sources(places, 1)["train"])
    arguments = ["--run.dir", str(tmp_path), "--run.name", "child", "--train.max_steps", "10", "--evaluate.every_steps", "0"]
    _, log = run(config, "--resume", str(place), "--stream.train", train, *arguments)
    assert "the stream starts at its beginning" not in log
    origin = json.loads((tmp_path / "child" / "origin.json").read_text(encoding="utf-8"))
    assert origin["step"] == 8 and origin["stream"] == json.loads((place / "stream.json").read_text(encoding="utf-8"))
    ours, theirs = (_by_source_and_lane(each, (9, 10)) for each in (tmp_path / "child", directory))
    shared = [(ours[key], theirs[key]) for key in ours if key in theirs]
    for own, parents in shared:
        both = min(len(own), len(parents))
        assert own[:both] == parents[:both]
    assert len(shared) > 4 and ours != theirs


def test_a_child_of_another_length_would_have_phases_at_other_steps_and_is_refused(trained, tmp_path) -> None:
    directory = trained[0].parent / "runs" / "tiny"
    words = ["--from", f"{directory}@step_8", "--run.name", "child", "--run.dir", str(tmp_path)]
    process = started([*train_command(1), *words, "--train.max_steps", "40"], ROOT)
    assert process.wait(300) == 1
    (line,) = [line for line in process.communicate()[1].splitlines() if "stream.phases" in line]
    assert "(train.max_steps: 24 -> 40) would change the data; begin with --resume" in line


def _by_source_and_lane(run_directory: Path, steps: tuple[int, ...]) -> dict[tuple[str, int], list[list[int]]]:
    from codeparrot.inspect_batch import inspect

    found: dict[tuple[str, int], list[list[int]]] = {}
    for step in steps:
        for window in inspect(str(run_directory), step, text=False).data["windows"]:
            found.setdefault((window["source"], window["lane"]), []).append(window["input_ids"])
    return found


def test_inspect_names_the_source_of_each_window_in_both_phases(trained) -> None:
    from codeparrot.inspect_batch import inspect

    config, _ = trained
    for step in (2, 24):
        result = inspect(str(config.parent / "runs" / "tiny"), step, text=False)
        for window in result.data["windows"]:
            assert all(Path(document["file"]).parent.name == window["source"] for document in window["documents"])
        assert {window["source"] for window in result.data["windows"]} == {"large", "small"}
        assert ", source small" in result.text


def test_two_processes_train_on_the_same_mixture(trained, places, tokenizer_folder, tmp_path) -> None:
    config, _ = trained
    changes: dict[str, Any] = {"stream": sources(places), "evaluate": {"every_steps": 0}, "train": {"micro_batch_size": 4}}
    two = write_config(tmp_path / "tiny.yaml", places, tokenizer_folder, **changes)
    run(two, num_processes=2)
    ours, theirs = curve(tmp_path / "runs" / "tiny"), curve(config.parent / "runs" / "tiny")
    assert [loss for _, loss, _ in ours] == pytest.approx([loss for _, loss, _ in theirs], rel=1e-4)
    read = [
        [line["sources"] for line in lines(each.parent / "runs" / "tiny") if "sources" in line][-1] for each in (two, config)
    ]
    assert read[0] == read[1]


def test_the_card_lists_the_sources_with_what_was_read_of_them(trained) -> None:
    from codeparrot.location import Branch
    from codeparrot.publishing.card import model_card

    config, _ = trained
    directory = config.parent / "runs" / "tiny"
    manifest = json.loads((directory / "checkpoints" / "step_00000024" / "manifest.json").read_text(encoding="utf-8"))
    card = model_card(manifest, lines(directory), {}, Branch("me/tiny", "main"), 1, plot=False)
    small = manifest["sources"][1]
    assert f"| small | 1 | {small['share']:.1%} | {small['tokens']:,} | {small['epochs']:.2f} |" in card
    assert "- `large` (large)" in card and "Until 50% of the steps, weights: those of the sources." in card
    assert str(directory.parent) not in card

"""Runs that begin with the weights of another model (`model.from`), in real processes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from tests.conftest import with_sentinels
from tests.launching import curve, lines, run, write_config
from tests.training.small_models import SIZES, write_sources


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> dict[str, Path]:
    return write_sources(tmp_path_factory.mktemp("sources"), tokenizer_folder)


EVALUATE = {"every_steps": 4, "max_tokens": 0, "sample_tokens": 0, "micro_batch_size": 64}
TRAIN = {"max_steps": 4}


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A small validation set."""
    path = tmp_path_factory.mktemp("held_out") / "valid.jsonl"
    path.write_text("".join(json.dumps({"content": text[:3000]}) + "\n" for text in texts[:12]), encoding="utf-8")
    return path


def written(folder: Path, corpus: Path, source: Path, stream: dict[str, Any], **changes: Any) -> Path:
    """Write the configuration of a run that begins from a model."""
    config = write_config(folder / "c.yaml", corpus, Path(), evaluate=EVALUATE, train=TRAIN, stream=stream)
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    content["model"] = {"from": str(source), **changes.get("model", {})}
    content["tokenizer"] = changes.get("tokenizer", {"path": ""})
    config.write_text(yaml.safe_dump(content), encoding="utf-8")
    return config


def loss_at(run_directory: Path, step: int) -> float:
    return next(line["eval_loss"] for line in lines(run_directory) if line["step"] == step and "eval_loss" in line)


@pytest.mark.slow
@pytest.mark.parametrize("family", SIZES)
def test_the_run_begins_where_its_source_is_and_goes_on_without_it(sources, corpus, held_out, tmp_path, family) -> None:
    from codeparrot.eval.tasks.perplexity import perplexity

    source = shutil.copytree(sources[family], tmp_path / "source")
    # One lane: the windows of the validation set are then those of the command.
    config, tiny = written(tmp_path, corpus, source, {"valid": str(held_out), "lanes": 1}), tmp_path / "runs" / "tiny"
    measured = perplexity(str(source), [str(held_out)]).data
    run(config, "--checkpoint.every_steps", "2", "--schedule.name", "constant")
    assert loss_at(tiny, 0) == pytest.approx(measured["loss"], rel=0, abs=1e-5)
    assert measured["tokens"] == next(line["eval_tokens"] for line in lines(tiny) if "eval_tokens" in line)
    # A fresh optimizer from step 0 on; what the run began with is written down.
    last = tiny / "checkpoints" / "step_00000004"
    manifest = json.loads((last / "manifest.json").read_text(encoding="utf-8"))
    told = manifest["origin"]["weights"]
    assert told["from"] == str(source) and list(told["sha256"]) == ["model.safetensors"]
    assert json.loads((tiny / "origin.json").read_text(encoding="utf-8"))["weights"] == told
    assert manifest["config"]["model"]["family"] == family
    assert json.loads((last / "state" / "training.json").read_text(encoding="utf-8"))["num_updates"] == 4
    # The source vanishes, and the last steps are done again.
    before = curve(tiny)
    shutil.rmtree(source)
    shutil.rmtree(last)
    _, err = run(config, "--checkpoint.every_steps", "2", "--schedule.name", "constant")
    assert "resumed at step 2" in err and curve(tiny) == before
    again = json.loads((last / "manifest.json").read_text(encoding="utf-8"))
    assert again["origin"]["weights"] == told and again["tokenizer_sha256"] == manifest["tokenizer_sha256"]
    # So does a run from its resolved configuration.
    _, err = run(tiny / "config.yaml", "--train.max_steps", "4")
    assert "was finished already" in err or "resumed at step 4" in err


@pytest.fixture(scope="module")
def resized(tmp_path_factory, sources, corpus, held_out, tokenizer_folder) -> tuple[Path, Path]:
    """Return the configuration of a run with new rows and a head of its own, and that run on one process."""
    folder = tmp_path_factory.mktemp("resized")
    tokenizer = {"path": str(with_sentinels(tokenizer_folder, folder / "tokenizer"))}
    options: dict[str, Any] = {"tokenizer": tokenizer, "model": {"resize_embeddings": True}}
    config = written(folder, corpus, sources["llama"], {"valid": str(held_out)}, **options)
    run(config)
    return config, folder / "runs" / "tiny"


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "fsdp", "zero2", "zero3"])
def test_every_strategy_begins_with_the_same_weights(resized, tmp_path, launch, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    config, alone = resized
    run(config, "--run.dir", str(tmp_path / "runs"), num_processes=2, launch=launch)
    tiny = tmp_path / "runs" / "tiny"
    assert loss_at(tiny, 0) == pytest.approx(loss_at(alone, 0), rel=1e-6)
    for ours, theirs in zip(curve(tiny), curve(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
    ends = [load_file(folder / "checkpoints" / "step_00000004" / "model" / "model.safetensors") for folder in (tiny, alone)]
    assert ends[0]["lm_head.weight"].shape == (515, 32) == ends[1]["lm_head.weight"].shape


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_another_run_and_of_its_gguf_file(sources, corpus, held_out, tmp_path) -> None:
    from codeparrot.export.command import export

    run(written(tmp_path, corpus, sources["gpt2"], {"valid": str(held_out)}))
    end = loss_at(tmp_path / "runs" / "tiny", 4)
    export(str(tmp_path / "runs" / "tiny"), str(tmp_path / "x.gguf"), type="f32")
    for name, source in {"child": tmp_path / "runs" / "tiny", "file": tmp_path / "x.gguf"}.items():
        run(written(tmp_path, corpus, source, {"valid": str(held_out)}), "--run.name", name)
        assert loss_at(tmp_path / "runs" / name, 0) == pytest.approx(end, abs=1e-5)
        told = json.loads((tmp_path / "runs" / name / "origin.json").read_text(encoding="utf-8"))["weights"]
        assert told["revision"] == ("step_00000004" if name == "child" else None)

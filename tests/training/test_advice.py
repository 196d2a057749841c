"""What is advised where a checkpoint does not fit can be done."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from codeparrot.model.families import model_config
from codeparrot.training.resume import differing_weights
from tests.launching import run, write_config

SMALL: dict[str, Any] = {"family": "gpt2", "vocab_size": 64, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    AutoModelForCausalLM.from_config(model_config(SMALL), dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({}, False),
        ({"n_head": 1}, False),
        ({"resid_pdrop": 0.0}, False),
        ({"n_layer": 2}, True),
        ({"n_embd": 16}, True),
        ({"vocab_size": 65}, True),
        ({"n_positions": 32}, True),
        ({"tie_word_embeddings": False}, True),
    ],
)
def test_models_differ_where_weights_have_other_shapes(saved, changes, differs) -> None:
    assert bool(differing_weights(model_config(SMALL | changes), saved)) is differs


def test_a_model_of_another_family_differs_and_is_not_made(saved) -> None:
    llama = {"family": "llama", "vocab_size": 64, "hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2}
    assert len(differing_weights(model_config(llama), saved)) > 10


@pytest.mark.slow
def test_a_changed_model_or_vocabulary_does_not_advise_a_resume_that_must_fail(
    tmp_path, corpus, tokenizer_folder, tokenizer_json
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, train={"max_steps": 2}, schedule={"warmup_steps": 1})
    run(config)
    place = tmp_path / "runs" / "tiny" / "checkpoints" / "step_00000002"
    other = tmp_path / "tokenizer"
    other.mkdir()
    for file in tokenizer_folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    (other / "tokenizer.json").write_text(tokenizer_json.replace('"add_prefix_space":false', '"add_prefix_space":true'))
    for arguments, named in (
        (("--model.n_layer", "3"), "model.n_layer: 2 -> 3"),
        (("--tokenizer.path", str(other)), "tokenizer.path: not the checkpoint's vocabulary"),
    ):
        _, err = run(config, *arguments, status=1)
        assert named in err and "set them back" in err and "choose another run.name" in err and "--resume" not in err
    _, err = run(config, "--model.n_layer", "3", "--resume", str(place), status=1)
    assert "holds another model" in err and "choose another run.name" in err and "Traceback" not in err
    _, err = run(config, "--model.resid_pdrop", "0.1", "--resume", str(place), "--run.name", "on", "--train.max_steps", "3")
    assert "resumed at step 2" in err

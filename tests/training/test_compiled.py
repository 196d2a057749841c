"""Runs whose layers are compiled, on every strategy that allows it: the losses of the others, and one graph for all layers."""

import json
import re
from pathlib import Path

import pytest

from tests.launching import ROOT, curve, kill_behind_step, run, start, train_command, write_config

EVALUATE = {"every_steps": 8, "sample_tokens": 4, "prompts": ["def f("], "micro_batch_size": 3}


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    run(write_config(folder / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE))
    return folder / "runs" / "tiny"


def test_selective_checkpointing_is_refused_with_zero3() -> None:
    from accelerate.utils import DeepSpeedPlugin

    from codeparrot.config import Config
    from codeparrot.errors import CodeparrotError
    from codeparrot.training.deepspeed import set_up_deepspeed

    config = Config()
    config.train.activation_checkpointing = "selective"
    settings = json.loads((ROOT / "launch" / "zero3.json").read_text(encoding="utf-8"))
    with pytest.raises(CodeparrotError, match=r"selective does not work with ZeRO-3; use full, or launch/fsdp\.yaml"):
        set_up_deepspeed(DeepSpeedPlugin(hf_ds_config=settings), config, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("launch", "checkpointing"), [("ddp", "selective"), ("fsdp", "full")])
def test_compiled_layers_train_the_same_model_in_as_few_graphs_with_evaluations_and_a_resume(
    tmp_path, corpus, tokenizer_folder, reference, launch, checkpointing
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE)
    command = [*train_command(2, launch)[:-1], str(ROOT / "tests" / "compiled_train.py")]
    options = ["--train.activation_checkpointing", checkpointing, "--checkpoint.background", "false"]
    tiny = tmp_path / "runs" / "tiny"
    kill_behind_step(start(config, *options, command=command), tiny / "metrics.jsonl", 10)
    _, err = run(config, *options, command=command)
    assert re.search(r"resumed at step (8|16)", err) and re.search(r"compile +each layer, in the first step", err)
    assert re.findall(r"graphs (\d+) breaks (\d+)", err) == [("2", "0"), ("2", "0")]  # of the layers and of the loss
    ours, theirs = (curve(place) for place in (tiny, reference))
    assert len(ours) == len(theirs)
    for (step, loss, norm), (same, other, other_norm) in zip(ours, theirs, strict=True):
        assert step == same
        assert loss == pytest.approx(other, rel=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)

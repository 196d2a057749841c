"""DDP, FSDP2 and ZeRO-1, 2, 3 with real processes: the same losses, the same checkpoint, resume on anything else."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from codeparrot.run.metrics import SOLUTIONS
from tests.launching import ROOT, curve, kill_behind_step, lines, run, start, train_command, write_config

STRATEGIES = ("ddp", "fsdp", "zero1", "zero2", "zero3")


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer_folder) -> Path:
    """An uninterrupted run on one process, with a final evaluation and samples."""
    folder = tmp_path_factory.mktemp("reference")
    run(write_config(folder / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE))
    return folder / "runs" / "tiny"


EVALUATE = {"every_steps": 24, "sample_tokens": 8, "prompts": ["def f("], "micro_batch_size": 64}
EVALUATE["likelihood_problems"] = "codeparrot"


def assert_same_curve(ours: Path, theirs: Path) -> None:
    for (step, loss, norm), (same, other, other_norm) in zip(curve(ours), curve(theirs), strict=True):
        assert step == same
        assert loss == pytest.approx(other, rel=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)


def last_checkpoint(run_directory: Path) -> Path:
    return run_directory / "checkpoints" / "step_00000024"


@pytest.mark.slow
@pytest.mark.parametrize("launch", STRATEGIES)
def test_a_killed_run_of_two_processes_goes_on_exactly_and_is_the_run_of_one_process(
    tmp_path, corpus, tokenizer_folder, reference, launch, monkeypatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate=EVALUATE)
    tiny = tmp_path / "runs" / "tiny"
    # Training waits for saves, so the checkpoint before the kill certainly exists.
    process = start(config, "--checkpoint.background", "false", num_processes=2, launch=launch)
    kill_behind_step(process, tiny / "metrics.jsonl", 18)
    before = {step: rest for step, *rest in curve(tiny)}
    _, err = run(config, num_processes=2, launch=launch)
    assert "resumed at step 8" in err or "resumed at step 16" in err
    after = {step: rest for step, *rest in curve(tiny)}
    # Repeated steps have the same bits as before; the whole equals the run on one process.
    assert {step: after[step] for step in before} == before
    assert_same_curve(tiny, reference)
    ours, theirs = ([line for line in lines(place) if "eval_loss" in line] for place in (tiny, reference))
    assert [line["eval_loss"] for line in ours] == pytest.approx([line["eval_loss"] for line in theirs], rel=1e-5)
    likelihoods = [[line[SOLUTIONS] for line in lines(place) if SOLUTIONS in line] for place in (tiny, reference)]
    assert len(likelihoods[0]) == 2 and likelihoods[0] == pytest.approx(likelihoods[1], rel=1e-5)
    samples = (tiny / "log" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in samples] == [0, 24]
    assert_same_export(last_checkpoint(tiny) / "model", last_checkpoint(reference) / "model")
    # A first start on a CPU does not wait minutes for a compiler, and needs none.
    assert not (tmp_path / "extensions").exists()


def assert_same_export(ours: Path, theirs: Path) -> None:
    """The same files, the tied head stored once, and a transformers model with the same logits."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    assert sorted(path.name for path in ours.iterdir()) == sorted(path.name for path in theirs.iterdir())
    for name in ("config.json", "generation_config.json"):
        assert (ours / name).read_text(encoding="utf-8") == (theirs / name).read_text(encoding="utf-8")
    weights = load_file(ours / "model.safetensors")
    assert "lm_head.weight" not in weights and "transformer.wte.weight" in weights
    assert {name: (value.shape, value.dtype) for name, value in weights.items()} == {
        name: (value.shape, value.dtype) for name, value in load_file(theirs / "model.safetensors").items()
    }
    ids = torch.arange(64).reshape(2, 32)
    with torch.no_grad():
        logits, expected = (AutoModelForCausalLM.from_pretrained(place)(ids).logits for place in (ours, theirs))
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_two_processes_pass_over_a_damaged_checkpoint_and_name_it(tmp_path, corpus, tokenizer_folder, reference) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    tiny = tmp_path / "runs" / "tiny"
    shutil.copytree(reference, tiny)
    damaged, cut = tiny / "checkpoints" / "step_00000024", tiny / "checkpoints" / "step_00000016"
    (moments,) = (damaged / "state").glob("moments-*")
    content = bytearray(moments.read_bytes())
    content[-1] ^= 1
    moments.write_bytes(content)
    (cut / "manifest.json").unlink()
    _, err = run(config, num_processes=2)
    assert re.search(r"passing over \S*step_00000024: process \d: state/moments-00000.safetensors has another SHA-256", err)
    assert re.search(r"passing over \S*step_00000016: process 0: \S* has no manifest.json", err)
    assert "resumed at step 8" in err
    assert_same_curve(tiny, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chain",
    [
        [("ddp", 2), ("ddp", 1), ("ddp", 4)],
        [("fsdp", 2), ("fsdp", 1), ("fsdp", 4)],
        [("zero2", 2), ("zero2", 1), ("zero2", 4)],
        [("zero3", 2), ("zero1", 1), ("zero3", 4)],
        [("zero1", 4), ("fsdp", 2), ("ddp", 1)],
    ],
    ids=lambda chain: "-".join(f"{launch}x{count}" for launch, count in chain),
)
def test_a_run_killed_twice_goes_on_with_other_numbers_of_processes_and_sees_the_same_batches(
    tmp_path, corpus, tokenizer_folder, reference, chain
) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    tiny = tmp_path / "runs" / "tiny"
    for (launch, count), step in zip(chain[:2], (10, 18), strict=True):
        process = start(config, "--checkpoint.background", "false", num_processes=count, launch=launch)
        kill_behind_step(process, tiny / "metrics.jsonl", step)
    _, err = run(config, num_processes=chain[2][1], launch=chain[2][0])
    assert "resumed at step 16" in err or "resumed at step 24" in err
    assert_same_curve(tiny, reference)
    ours, theirs = (
        json.loads((last_checkpoint(place) / "stream.json").read_text(encoding="utf-8")) for place in (tiny, reference)
    )
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "fsdp", "zero2", "zero3"])
def test_bf16_follows_float32_on_every_strategy(tmp_path, corpus, tokenizer_folder, reference, launch) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    run(config, "--train.precision", "bf16", "--train.micro_batch_size", "1", num_processes=2, launch=launch)
    ours, theirs = curve(tmp_path / "runs" / "tiny"), curve(reference)
    assert [loss for _, loss, _ in ours] == pytest.approx([loss for _, loss, _ in theirs], rel=5e-3)
    # A loss in bfloat16 would be a multiple of 1/32.
    assert any(loss * 64 % 1 for _, loss, _ in ours)
    import torch
    from safetensors.torch import load_file

    model = last_checkpoint(tmp_path / "runs" / "tiny") / "model"
    assert all(value.dtype == torch.float32 for value in load_file(model / "model.safetensors").values())
    assert json.loads((model / "config.json").read_text(encoding="utf-8"))["dtype"] == "float32"


def watched(tmp_path: Path, config: Path, launch: str, *options: str) -> dict[str, Any]:
    """Train in bf16 with four micro-batches a step on two processes; return what a step did (watched_train.py)."""
    *launcher, _ = train_command(2, launch)
    command = [*launcher, *options, str(ROOT / "tests" / "watched_train.py")]
    place = tmp_path / "watched.json"
    few = ("--train.precision", "bf16", "--train.micro_batch_size", "1", "--train.max_steps", "4")
    run(config, *few, command=command, environment={**os.environ, "WATCHED": str(place)})
    return json.loads(place.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize(("reshard", "gathers"), [("true", 4 * (4 + 2)), ("false", 4)])
def test_fsdp_never_holds_whole_gradients_and_gathers_once_a_step_where_weights_may_stay(
    tmp_path, corpus, tokenizer_folder, reshard, gathers
) -> None:
    """Four groups of parameters: two blocks, which are gathered again for the backward pass, the embedding, the positions."""
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    seen = watched(tmp_path, config, "fsdp", "--fsdp_reshard_after_forward", reshard)
    assert seen["collectives"]["_allgather_base_"] == gathers
    # Each micro-batch reduces each group: what is kept from one to the next is this process's share.
    assert seen["collectives"]["_reduce_scatter_base_"] == 4 * 4
    # What runs from block to block is float32, as under DDP.
    assert seen["types"] == ["torch.float32"] and seen["gradients"] == 0


@pytest.mark.slow
def test_ddp_reduces_once_a_step_and_its_gradients_stay_in_the_buckets(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    seen = watched(tmp_path, config, "ddp")
    assert seen["collectives"] == {"allreduce_": 1}
    assert seen["types"] == ["torch.float32"]
    assert (seen["gradients"], seen["storages"]) == (28, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient_clipping": 5.0}, 'sets "gradient_clipping" to 5.0, the recipe to 1.0; write "auto" there'),
        ({"gradient_accumulation_steps": 7}, 'sets "gradient_accumulation_steps" to 7, the recipe to 2'),
        ({"optimizer": {"type": "Adam"}}, 'sets "optimizer", which is the recipe\'s'),
        ({"scheduler": {"type": "WarmupLR"}}, 'sets "scheduler", which is the recipe\'s'),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
            "offload_optimizer, which is not supported",
        ),
        ({"zero_optimization": {"stage": 0}}, "ZeRO stage 0, which is DDP"),
    ],
)
def test_a_deepspeed_file_that_contradicts_the_recipe_is_refused(changes, message) -> None:
    from accelerate.utils import DeepSpeedPlugin

    from codeparrot.config import Config
    from codeparrot.errors import CodeparrotError
    from codeparrot.training.deepspeed import set_up_deepspeed

    config = Config()
    config.train.global_batch_size, config.train.micro_batch_size = 16, 4
    settings = json.loads((ROOT / "launch" / "zero2.json").read_text(encoding="utf-8"))
    plugin = DeepSpeedPlugin(hf_ds_config=settings)
    set_up_deepspeed(plugin, config, 2)
    assert plugin.deepspeed_config["gradient_accumulation_steps"] == 2 and plugin.deepspeed_config["gradient_clipping"] == 1.0
    with pytest.raises(CodeparrotError) as error:
        set_up_deepspeed(DeepSpeedPlugin(hf_ds_config={**settings, **changes}), config, 2)
    assert message in str(error.value)

"""The files in launch/, as their README shows them."""

import json
import socket

import pytest
import yaml

from tests.launching import ROOT, SCRIPTS, curve, run, start, write_config

LAUNCH = ROOT / "launch"


def test_every_file_is_in_the_readme_and_every_deepspeed_file_leaves_to_the_recipe_what_is_the_recipes() -> None:
    readme = (LAUNCH / "README.md").read_text(encoding="utf-8")
    files = sorted(LAUNCH.glob("*.yaml"))
    assert {path.stem for path in files} == {"cpu", "ddp", "fsdp", "zero1", "zero2", "zero3", "multinode"}
    for path in files:
        assert f"`{path.name}`" in readme and f"--config_file launch/{path.name} " in readme
        settings = yaml.safe_load(path.read_text(encoding="utf-8")).get("deepspeed_config")
        if settings:
            deepspeed = json.loads((ROOT / settings["deepspeed_config_file"]).read_text(encoding="utf-8"))
            assert deepspeed["zero_optimization"]["stage"] == int(path.stem[-1])
            assert {deepspeed[key] for key in ("gradient_clipping", "gradient_accumulation_steps")} == {"auto"}
            assert {deepspeed[key] for key in ("train_micro_batch_size_per_gpu", "train_batch_size")} == {"auto"}
            # Accelerate's "auto" is the square of the width.
            buckets = [value for key, value in deepspeed["zero_optimization"].items() if key.endswith("bucket_size")]
            assert buckets and set(buckets) == {50_000_000}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["multinode", "zero3"])
def test_two_machines_train_one_run(tmp_path, corpus, tokenizer_folder, launch) -> None:
    """Two launchers with one process each, as on two machines."""
    config = write_config(tmp_path / "c.yaml", corpus, tokenizer_folder)
    run(config, "--run.name", "alone")
    together = ["--num_machines", "2", "--num_processes", "2", "--main_process_ip", "127.0.0.1"]
    together += ["--main_process_port", str(free_port()), "--config_file", str(LAUNCH / f"{launch}.yaml")]
    processes = [
        start(
            config,
            command=[
                *(str(SCRIPTS / "accelerate"), "launch", *together, "--machine_rank", str(rank)),
                str(ROOT / "codeparrot" / "train.py"),
            ],
        )
        for rank in (1, 0)
    ]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-3000:]
    ours, theirs = curve(tmp_path / "runs" / "tiny"), curve(tmp_path / "runs" / "alone")
    assert [loss for _, loss, _ in ours] == pytest.approx([loss for _, loss, _ in theirs], rel=1e-5)


def test_a_gpu_without_bf16_is_told_what_to_use(monkeypatch) -> None:
    import torch

    from codeparrot.config import Config, TrainConfig
    from codeparrot.errors import CodeparrotError
    from codeparrot.training.processes import start_processes

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla V100")
    with pytest.raises(CodeparrotError, match=r"Tesla V100 does not support train\.precision bf16; use auto, fp16 or fp32"):
        start_processes(Config(train=TrainConfig(precision="bf16")))

"""`codeparrot plan` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from codeparrot.cli import main
from codeparrot.plan import forecast, gpus
from tests.launching import ROOT, run, write_config

SHAPE = "--model.n_layer 2 --model.n_embd 64 --model.n_head 2 --model.vocab_size 512 --stream.seq_length 64".split()


def tiny(*flags: str) -> list[str]:
    """A plan of small.yaml's run with a smaller model, without its corpus and tokenizer."""
    return ["plan", str(ROOT / "configs/small.yaml"), *SHAPE, "--tokenizer.path", "nowhere", *flags]


def test_a_plan_names_memory_launch_time_cost_and_disk(capsys) -> None:
    flags = "--gpus 8 --gpu h100-80gb --hours 24 --price 2 --mfu 0.4 --hub.repo a/b".split()
    assert main(tiny(*flags, "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["strategies"]) == ["DDP", "ZeRO-1", "ZeRO-2", "FSDP2", "ZeRO-3"]
    for way in found["strategies"].values():
        assert sum(way["bytes"].values()) == pytest.approx(way["total_bytes"], abs=10)
        assert way["largest_micro_batch_size"] == 64
    assert found["strategy"] == "DDP"
    assert "--config_file launch/ddp.yaml --num_processes 8" in found["command"]
    assert found["tokens_per_second"] == pytest.approx(0.4 * 8 * 989e12 / found["flops_per_token"])
    assert found["cost"] == pytest.approx(2 * found["gpu_hours"])
    assert found["gpu_hours"] == pytest.approx(8 * found["seconds"]["total"] / 3600)
    assert found["checkpoints"]["hub_bytes"] == found["checkpoints"]["pushed"] * 4 * found["parameters"]


def test_the_text_fits_a_terminal_and_says_the_same(capsys) -> None:
    assert main(tiny("--gpu", "h100-80gb", "--hours", "2", "--price", "2.5", "--corpus_tokens", "1000000000")) == 0
    text = capsys.readouterr().out
    words = ["small on one h100-80gb, bf16", "1.84 epochs of 1B tokens (--corpus_tokens)", "Chinchilla", "largest micro-batch"]
    words += [
        "sbatch --time",
        "2 suffice",
        "at 2.5 an hour and GPU",
        "assumed: from nanoGPT's README",
        "codeparrot train --config",
    ]
    for each in words:
        assert each in text
    assert all(len(line) < 140 for line in text.splitlines())


def test_a_plan_says_what_the_copies_of_a_mirror_take_and_where(capsys) -> None:
    flags = ["--gpu", "h100-80gb", "--mfu", "0.4"]
    assert main(tiny(*flags)) == 0
    lines = capsys.readouterr().out.splitlines()
    (disk,) = (line.split(maxsplit=1)[1] for line in lines if line.split()[:1] == ["disk"])
    assert not any(line.split()[:1] == ["mirror"] for line in lines)
    assert main(tiny(*flags, "--checkpoint.mirror", "s3://bucket/runs/small")) == 0
    (mirror,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["mirror"])
    assert mirror.split(maxsplit=1)[1] == f"{disk} in s3://bucket/runs/small"


def test_several_machines_have_a_command_each_and_one_for_a_queue(capsys) -> None:
    flags = "--gpus 64 --gpu h100-80gb --launch zero2 --mfu 0.4 --train.micro_batch_size 8".split()
    assert main(tiny(*flags)) == 0
    text = capsys.readouterr().out
    several = "--num_machines 8 --machine_rank RANK --main_process_ip FIRST --main_process_port 29500"
    assert f"--config_file launch/zero2.yaml --num_processes 64 {several} codeparrot/train.py" in text
    assert "on each of 8 machines, RANK 0 to 7" in text
    assert "LAUNCH=zero2 sbatch --nodes 8 --gpus-per-node 8 --time 00:30:00 slurm/pretrain.sh CONFIG" in text


def test_a_probe_takes_no_micro_batch_that_does_not_fit(capsys, monkeypatch) -> None:
    nano = ["plan", str(ROOT / "configs/nano.yaml"), *SHAPE, "--tokenizer.path", "nowhere", "--gpu", "cpu", "--probe", "--json"]
    assert main([*nano, "--train.precision", "fp32"]) == 0
    needed = json.loads(capsys.readouterr().out)["strategies"]["one process"]["total_bytes"]
    for room, probed in ((0.999 * needed, "train.micro_batch_size 2"), (1000, None)):
        monkeypatch.setattr(forecast, "device", lambda *_, room=room: gpus.Device("cpu", room, None, on_gpu=False))
        assert main([*nano, "--train.precision", "fp32"]) == (0 if probed else 1)
        printed = capsys.readouterr()
        if probed:
            assert probed in json.loads(printed.out)["speed_source"]
        else:
            assert "--probe runs the whole model on one device: this one takes" in printed.err


def test_what_does_not_fit_is_said_with_what_would(capsys) -> None:
    large = ["--model.n_embd", "12288", "--model.n_head", "96", "--model.n_layer", "96"]
    assert main(tiny("--gpus", "2", "--gpu", "l4", *large)) == 0
    assert "fits in no way that was tried: train.activation_checkpointing full, more or larger GPUs" in capsys.readouterr().out
    wide = ["--model.n_embd", "1024", "--model.n_layer", "12", "--train.micro_batch_size", "512", "--stream.seq_length", "1024"]
    assert main(tiny("--gpu", "v100-16gb", *wide)) == 0
    out = capsys.readouterr().out
    assert "train.micro_batch_size 512 does not fit; use " in out and "--train.micro_batch_size" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gpus", "7"], "7 processes do not divide stream.lanes 256; start one of 1, 2, 4"),
        (["--gpu", "h100-80"], 'did you mean "h100-80gb"?'),
        (["--gpus", "8", "--train.micro_batch_size", "7"], "nearest: 8"),
        (["--probe", "--like", "x"], "give one of them"),
        (["--probe", "--mfu", "0.4"], "give one of them"),
        (["--probe", "--gpu", "h100-80gb"], "--probe measures this machine's device, not h100-80gb"),
        (["--like", "/nowhere", "--gpu", "h200"], 'there is no folder "/nowhere"'),
        (["--gpu", "h200", "--figure", "memory.jpeg"], "end its name in .png, .svg, .pdf"),
        (["--gpu", "h200", "--mfu", "40"], "it is a share of the peak"),
    ],
)
def test_mistakes_are_one_line(flags, message, capsys) -> None:
    assert main(tiny(*flags)) == 1
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


def test_the_picture_is_written_where_it_is_asked_for(tmp_path) -> None:
    picture = tmp_path / "memory.png"
    assert main(tiny("--gpus", "2", "--gpu", "a100-40gb", "--figure", str(picture))) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_cpu_has_the_memory_of_this_machine_and_no_speed_until_it_is_probed(capsys) -> None:
    shape = [*SHAPE, "--tokenizer.path", "nowhere"]
    nano = ["plan", str(ROOT / "configs/nano.yaml"), *shape, "--gpu", "cpu", "--json"]
    assert main(nano) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens_per_second"] is None and found["seconds"] is None and found["command"].startswith("codeparrot train")
    assert main([*nano, "--probe"]) == 0
    probed = json.loads(capsys.readouterr().out)
    assert probed["tokens_per_second"] > 0 and "20 steps probed on this machine's CPU" in probed["speed_source"]


def test_a_run_of_an_earlier_version_can_be_checked(tmp_path, capsys) -> None:
    assert main(["plan", "--check", str(ROOT / "tests/artefacts/0.1/run"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows["weights in a checkpoint"]["ratio"] == pytest.approx(1, rel=0.1)
    assert rows["state in a checkpoint"]["ratio"] == pytest.approx(1, rel=0.1)
    assert rows["wall time, at the speed it had"]["used"] is None
    assert main(["plan", "--check", str(tmp_path)]) == 1
    assert "is not a run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_compared_with_its_plan(tmp_path, corpus, tokenizer_folder) -> None:
    run(write_config(tmp_path / "c.yaml", corpus, tokenizer_folder), num_processes=2, launch="fsdp")
    # In a process of its own, because what libraries take on a CPU is measured in the process that plans.
    command = [sys.executable, "-m", "codeparrot", "plan", "--check", str(tmp_path / "runs" / "tiny"), "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (found["strategy"], found["world_size"]) == ("FSDP2", 2)
    rows = found["rows"]
    assert 0.5 < rows["peak memory of a process"]["ratio"] < 2  # as a CPU's
    assert rows["weights in a checkpoint"]["ratio"] == pytest.approx(1, rel=0.1)
    assert rows["checkpoints on the disk"] == {"predicted": 3, "used": 3, "ratio": 1.0, "unit": "number"}
    assert rows["wall time, at the speed it had"]["used"] > 0 and rows["peak memory of a process"]["ratio"] > 0.5


@pytest.mark.slow
def test_the_table_of_launching_is_the_one_that_is_printed(capsys) -> None:
    assert main(["plan", "--table"]) == 0
    assert capsys.readouterr().out in (ROOT / "launch" / "README.md").read_text(encoding="utf-8")


def test_nothing_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(tiny("--gpu", "h200")) == 0
    assert list(Path(tmp_path).iterdir()) == []

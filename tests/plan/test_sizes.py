"""What is counted from a configuration, and how long it takes at a speed."""

import json
from pathlib import Path
from typing import Any

import pytest

from codeparrot.arguments import load_config
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.plan import gpus, sizes, speed
from codeparrot.plan.runs import read_run
from tests.launching import ROOT

SMALL = ROOT / "configs" / "small.yaml"


def test_the_recipe_for_a_gpu_is_counted_without_its_corpus_and_tokenizer(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(SMALL)
    found = sizes.count(config, sizes.model_settings(config), sizes.corpus_of(config, 0))
    assert (found.parameters, found.tokens_per_step, found.tokens) == (111_008_256, 524_288, 56_000 * 524_288)
    assert found.flops_per_token == pytest.approx(774.6e6, rel=1e-4)
    assert found.flops == pytest.approx(774.6e6 * 29.36e9, rel=1e-3)
    assert found.epochs is None and "--corpus_tokens" in found.corpus_source
    given = sizes.count(config, sizes.model_settings(config), sizes.corpus_of(config, 14_680_064_000))
    assert given.epochs == pytest.approx(2.0)


def test_epochs_are_those_that_training_names(corpus, tokenizer_folder) -> None:
    config = Config()
    config.stream.train, config.tokenizer.path, config.stream.seq_length = [str(corpus)], str(tokenizer_folder), 32
    found = sizes.corpus_of(config, 0)
    assert found.tokens is not None and found.tokens > 100_000 and found.source == "estimated from some documents"


def test_documents_that_a_pattern_names_are_found(corpus, tokenizer_folder, tmp_path) -> None:
    config = Config()
    config.tokenizer.path, config.stream.seq_length = str(tokenizer_folder), 32
    config.stream.train = f"{corpus}/train-*.parquet"
    assert (sizes.corpus_of(config, 0).tokens or 0) > 100_000
    config.stream.train = f"{tmp_path}/train-*.parquet"
    assert sizes.corpus_of(config, 0).source.startswith("stream.train is not on this machine")


def test_the_documents_of_all_sources_are_counted_together(corpus, tokenizer_folder) -> None:
    config = Config()
    config.tokenizer.path, config.stream.seq_length = str(tokenizer_folder), 32
    alone = []
    for name in ("train-00000", "train-00001"):
        config.stream.train = f"{corpus}/{name}-*.parquet"
        alone.append(sizes.corpus_of(config, 0).tokens or 0)
    config.stream.train = [{"path": f"{corpus}/train-0000{number}-*.parquet", "name": str(number)} for number in range(2)]
    config.stream.phases = [{"until": 0.5}, {"until": 1, "weights": [1, 0]}]
    assert sizes.corpus_of(config, 0).tokens == sum(alone) > 0


def test_a_model_that_does_not_fit_its_tokenizer_is_refused_where_that_is_here(tokenizer_folder) -> None:
    config = Config()
    config.tokenizer.path, config.model = str(tokenizer_folder), {"family": "gpt2", "vocab_size": 300}
    with pytest.raises(CodeparrotError, match=r"set model\.vocab_size 512"):
        sizes.model_settings(config)


def checkpoints(**settings: Any) -> sizes.Checkpoints:
    """Those of a million parameters and a thousand steps in an hour; `section__name` sets a setting."""
    config = Config()
    config.train.max_steps = 1000
    for name, value in settings.items():
        section, _, key = name.partition("__")
        setattr(getattr(config, section), key, value)
    return sizes.checkpoints_of(config, 1_000_000, 2_000_000, 3600.0)


def test_checkpoints_are_counted_as_they_are_written_kept_and_pushed() -> None:
    found = checkpoints(checkpoint__every_steps=150, checkpoint__keep_last=2, checkpoint__keep_every_steps=300)
    # 150, 300, 450, 600, 750, 900 and 1000; 300, 600 and 900 stay, and 900 and 1000 are the last two.
    assert (found.written, found.kept) == (7, 4)
    assert (found.model_bytes, found.state_bytes, found.disk_bytes) == (4_000_000, 8_000_000, 5 * 12_000_000)
    assert (found.pushed, found.hub_bytes) == (0, 0)
    pushed = checkpoints(checkpoint__every_steps=150, hub__repo="a/b", hub__every=300)
    assert (pushed.pushed, pushed.hub_bytes) == (4, 16_000_000)
    whole = checkpoints(checkpoint__every_steps=150, hub__repo="a/b", hub__every=300, hub__state=True)
    assert whole.hub_bytes == 4 * 12_000_000


def test_checkpoints_by_time_count_from_the_last_one() -> None:
    # An hour: 6 minutes are 100 steps. By steps alone: 350, 700, 1000.
    found = checkpoints(checkpoint__every_steps=350, checkpoint__every_minutes=6)
    # 100, 200, 300, 350, 450, 550, 650, 700, 800, 900, 1000
    assert found.written == 11


def test_a_run_whose_steps_take_longer_than_minutes_between_checkpoints_is_counted_at_once() -> None:
    config = Config()
    config.train.max_steps, config.checkpoint.every_steps, config.checkpoint.every_minutes = 200_000, 1000, 1.0
    assert sizes.checkpoints_of(config, 1_000_000, 2_000_000, 1e9).written == 200_000
    assert sizes.checkpoints_of(config, 1_000_000, 2_000_000, 6e6).written == 200 * 500  # a minute is two steps


def test_time_is_that_of_training_evaluation_and_unit_tests() -> None:
    config = Config()
    config.train.max_steps, config.train.global_batch_size, config.stream.seq_length = 1000, 10, 100
    config.stream.valid, config.evaluate.every_steps = ["x"], 100
    found = speed.times(config, 1000.0, 0, 0, on_gpu=True)
    assert found.training == 1000
    assert found.evaluation == pytest.approx(0.02 * 1000, rel=0.01)  # what evaluate.max_tokens auto allows
    config.evaluate.max_tokens = 0
    assert speed.times(config, 1000.0, None, 0, on_gpu=True).evaluation is None
    config.evaluate.humaneval_every_steps, config.evaluate.humaneval_limit, config.evaluate.every_steps = 500, 10, 0
    config.evaluate.infilling_every_steps, config.evaluate.infilling_limit = 400, 7
    samples = speed.samples_of(config)
    assert samples == 2 * 10 * 4 + 3 * 7
    tested = speed.times(config, 1000.0, samples, 0, on_gpu=True)
    assert tested.pass_at_k == pytest.approx(samples * 128 / 100)
    assert speed.times(config, 1000.0, samples, 0, on_gpu=True, copies=8).pass_at_k == pytest.approx(8 * samples * 128 / 100)
    config.evaluate.infilling_problems = "/nowhere/gaps.jsonl"
    assert speed.samples_of(config) is None
    assert speed.times(config, 1000.0, None, 0, on_gpu=True).pass_at_k is None


def test_the_steps_that_fit_into_the_hours_are_named() -> None:
    config = Config()
    config.train.max_steps, config.train.global_batch_size, config.stream.seq_length = 10_000, 10, 100
    assert speed.times(config, 1000.0, None, 1.0, on_gpu=False).fit_steps == 3580  # one second each, twenty to start
    assert speed.times(config, 1000.0, None, 0.0, on_gpu=False).fit_steps is None


@pytest.mark.parametrize(
    ("seconds", "limit"), [(100, "00:30:00"), (3600, "01:30:00"), (23 * 3600, "1-01:30:00"), (7 * 86400, "7-17:00:00")]
)
def test_the_time_limit_of_a_job_has_slack_and_is_rounded_up(seconds, limit) -> None:
    assert speed.time_limit(seconds) == limit


def test_a_share_of_the_peak_is_a_speed_and_says_where_it_is_from() -> None:
    device = gpus.device("H100-80GB", 1)
    found = speed.by_share(device, "bf16", 0.4, 10**9, 8)
    assert found is not None and found.tokens_per_second == pytest.approx(0.4 * 989e12 * 8 / 1e9)
    assert "--mfu" in found.source and "data sheet" in found.source
    assumed = speed.by_share(device, "bf16", 0.0, 10**9, 8)
    assert assumed is not None and "assumed: from nanoGPT's README" in assumed.source
    assert speed.by_share(device, "fp32", 0.0, 10**9, 8) is None  # the data sheet has no such peak
    with pytest.raises(CodeparrotError, match="--mfu: no peak of h100-80gb in fp32 is known"):
        speed.by_share(device, "fp32", 0.4, 10**9, 8)


def test_the_assumed_share_follows_from_what_nanogpt_states() -> None:
    tokens_a_second = 600_000 * 491_520 / (4 * 86400) / 8
    flops = 6 * 123.6e6 + 12 * 12 * 768 * 1024
    assert pytest.approx(tokens_a_second * flops / 312e12, abs=0.005) == speed.ASSUMED_MFU


def test_an_unknown_gpu_is_named_with_the_nearest() -> None:
    with pytest.raises(CodeparrotError, match='there is no "a100-80g" in the table; did you mean "a100-80gb"'):
        gpus.device("a100-80g", 1)
    with pytest.raises(CodeparrotError, match="say which: h100-80gb, h100-pcie-80gb, h100-nvl-94gb"):
        gpus.device("H100", 1)
    with pytest.raises(CodeparrotError, match="known: auto, cpu, "):
        gpus.device("toaster", 1)


def test_the_speed_of_a_run_is_scaled_by_flops_and_devices(tmp_path) -> None:
    run = copied_run(tmp_path)
    lines = [{"step": s, "tokens": 100 * s, "tokens_per_second": 10.0 if s == 1 else 1000.0, "loss": 1.0} for s in range(1, 11)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    config = load_config(run / "config.yaml")
    flops = speed.flops_per_token(speed.shape_of(config), config.stream.seq_length)
    found = speed.of_run(str(run), flops // 2, 4, gpus.device("h200", 1))
    assert found.tokens_per_second == pytest.approx(1000 * 2 * 4, rel=1e-6)  # the first line warms up
    with pytest.raises(CodeparrotError, match="is not a run"):
        speed.of_run(str(tmp_path), flops, 1, gpus.device("h200", 1))


def test_a_run_on_a_cpu_says_nothing_of_a_gpu_and_the_other_way_round(tmp_path) -> None:
    run = copied_run(tmp_path)
    (run / "log").mkdir()
    for compute, place, remedy in (
        ("bf16 on 8 x cuda, 989 TFLOP/s (NVIDIA H100, data sheet)", gpus.device("cpu", 1), "--gpu says which GPU"),
        ("fp32 on 8 x cpu, 0.2 TFLOP/s (x86_64, timed)", gpus.device("h200", 1), "name a run on GPUs"),
    ):
        (run / "log" / "rank_00000.log").write_text(LOG.format(begun="", strategy="DDP", compute=compute), encoding="utf-8")
        with pytest.raises(CodeparrotError, match=remedy):
            speed.of_run(str(run), 1, 1, place)


LOG = """\
2026-11-29 04:29:57,354 INFO run         runs/a{begun}
2026-11-29 04:29:57,434 INFO strategy    {strategy}
2026-11-29 04:29:57,434 INFO compute     {compute}
2026-11-29 04:31:57,434 INFO step 5/10 (50.0%) | loss 4.9
"""


@pytest.mark.parametrize(
    ("compute", "kind", "device"),
    [
        ("bf16 on 8 x cuda, 989 TFLOP/s (NVIDIA H100 80GB HBM3, data sheet)", "cuda", "NVIDIA H100 80GB HBM3"),
        (
            "bf16 (the accelerators have it) on 8 x cuda, 312 TFLOP/s (NVIDIA A100-SXM4-40GB, data sheet)",
            "cuda",
            "NVIDIA A100-SXM4-40GB",
        ),
        (
            "fp32 (products of one thread: 1 GFLOP/s in bf16, 68 in fp32) on 8 x cpu, 0.25 TFLOP/s "
            "(x86_64, fp32 matrix products timed at the start)",
            "cpu",
            "x86_64",
        ),
    ],
)
def test_a_run_s_log_names_its_device_whatever_says_why_its_precision(compute, kind, device, tmp_path) -> None:
    run = copied_run(tmp_path)
    (run / "log").mkdir()
    (run / "log" / "rank_00000.log").write_text(LOG.format(begun="", strategy="DDP", compute=compute), encoding="utf-8")
    used = read_run(str(run))
    assert (used.world_size, used.kind, used.device, used.strategy) == (8, kind, device, "DDP")
    assert used.wall_seconds == 120.0


def test_a_run_that_went_on_elsewhere_is_that_of_its_last_start(tmp_path) -> None:
    run = copied_run(tmp_path)
    (run / "log").mkdir()
    first = LOG.format(begun="", strategy="DDP", compute="bf16 on 8 x cuda, 989 TFLOP/s (NVIDIA H100, data sheet)")
    second = LOG.format(
        begun=", resumed at step 5", strategy="FSDP2", compute="bf16 on 4 x cuda, 989 TFLOP/s (NVIDIA H100, data sheet)"
    )
    failed = "2026-11-30 04:29:57,354 INFO run         runs/a, resumed at step 10\n2026-11-30 04:30:00,000 ERROR no disk\n"
    (run / "log" / "rank_00000.log").write_text(first + second + failed, encoding="utf-8")
    lines = [{"step": s, "tokens": 100 * s, "tokens_per_second": 800.0 if s <= 5 else 400.0, "loss": 1.0} for s in range(1, 11)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    used = read_run(str(run))
    assert (used.world_size, used.strategy, used.tokens_per_second) == (4, "FSDP2", 400.0)
    assert used.wall_seconds is None and used.training_seconds == pytest.approx(500 / 800 + 500 / 400)


def copied_run(folder: Path) -> Path:
    """Return a copy of a run of an earlier version, whose log is not kept."""
    import shutil

    return Path(shutil.copytree(ROOT / "tests/artefacts/0.1/run", folder / "run"))

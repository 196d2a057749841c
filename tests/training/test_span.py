"""Runs of encoder-decoders: the same steps on any strategy and split, exact after a kill; checkpoints load in transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.launching import curve, kill_behind_step, lines, run, start
from tests.training.kinds import tokenizer_with, write

T5: dict[str, Any] = {
    **{"family": "t5", "vocab_size": 640, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    **{"dropout_rate": 0.0, "feed_forward_proj": "gated-gelu"},
}


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the tests with the tokens for spans."""
    from codeparrot.stream.sentinels import EXTRA_IDS, PAD

    tokens = {"pad_token": PAD, "additional_special_tokens": list(EXTRA_IDS)}
    return tokenizer_with(tokens, tokenizer_folder, tmp_path_factory.mktemp("span_tokenizer"))


def spans(folder: Path, corpus: Path, tokenizer: Path, **changes: Any) -> Path:
    """Write the configuration of a tiny run of a T5."""
    sections: dict[str, Any] = {"objective": {"name": "span"}, "evaluate": {"every_steps": 24, "micro_batch_size": 16}}
    return write(folder, corpus, tokenizer, T5, **sections | changes)


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer) -> tuple[Path, str]:
    """An uninterrupted run on one process, and its log."""
    folder = tmp_path_factory.mktemp("reference")
    _, log = run(spans(folder, corpus, tokenizer))
    return folder / "runs" / "tiny", log


@pytest.mark.slow
def test_a_run_learns_and_its_checkpoint_loads_in_transformers(reference) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    directory, log = reference
    found = curve(directory)
    assert found[-1][1] < found[0][1] - 0.3
    assert "objective   span corruption (T5)" in log and "spans are no text of their own: no samples" in log
    first, last = [line for line in lines(directory) if "eval_loss" in line]
    assert last["eval_loss"] < first["eval_loss"] - 0.3
    place = directory / "checkpoints" / "step_00000024" / "model"
    assert json.loads((place / "config.json").read_text(encoding="utf-8"))["architectures"] == ["T5ForConditionalGeneration"]
    model, info = AutoModelForSeq2SeqLM.from_pretrained(place, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer: Any = AutoTokenizer.from_pretrained(place)
    assert model.config.decoder_start_token_id == tokenizer.pad_token_id
    written = model.generate(torch.tensor([tokenizer("import <extra_id_0>\n")["input_ids"]]), max_new_tokens=4)
    assert written[0, 0] == tokenizer.pad_token_id and written.shape[1] > 1


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "fsdp", "zero2"])
def test_a_killed_run_of_two_processes_goes_on_exactly_and_is_the_run_of_one(
    tmp_path, corpus, tokenizer, reference, launch
) -> None:
    config, tiny = spans(tmp_path, corpus, tokenizer), tmp_path / "runs" / "tiny"
    split = ("--train.micro_batch_size", "1")
    process = start(config, "--checkpoint.background", "false", *split, num_processes=2, launch=launch)
    kill_behind_step(process, tiny / "metrics.jsonl", 12)
    before = {step: rest for step, *rest in curve(tiny)}
    _, err = run(config, *split, num_processes=2, launch=launch)
    assert "resumed at step 8" in err or "resumed at step 16" in err
    after = {step: rest for step, *rest in curve(tiny)}
    assert {step: after[step] for step in before} == before
    for (step, loss, norm), (same, other, other_norm) in zip(curve(tiny), curve(reference[0]), strict=True):
        assert step == same and loss == pytest.approx(other, rel=1e-5) and norm == pytest.approx(other_norm, rel=1e-3)
    ours, theirs = ([line["eval_loss"] for line in lines(place) if "eval_loss" in line] for place in (tiny, reference[0]))
    assert ours[-1] == pytest.approx(theirs[-1], rel=1e-5)


@pytest.mark.slow
def test_a_mixture_goes_on_exactly_on_two_processes_and_is_the_run_of_one(tmp_path, corpus, tokenizer) -> None:
    """Its windows predict different numbers of tokens, so micro-batches count by theirs."""
    sections: dict[str, Any] = {"objective": {"name": "span", "mixture": "ul2"}, "train": {"max_steps": 12}}
    one, two = (spans(tmp_path / name, corpus, tokenizer, **sections) for name in ("one", "two"))
    _, log = run(one)
    assert "a mixture of 7 denoisers (UL2)" in log and "padding to the longest: " in log
    split = ("--train.micro_batch_size", "1")
    process = start(two, "--checkpoint.background", "false", *split, num_processes=2)
    kill_behind_step(process, tmp_path / "two" / "runs" / "tiny" / "metrics.jsonl", 9)
    _, err = run(two, *split, num_processes=2)
    assert "resumed at step 8" in err
    ours, theirs = (curve(tmp_path / name / "runs" / "tiny") for name in ("two", "one"))
    for (step, loss, norm), (same, other, other_norm) in zip(ours, theirs, strict=True):
        assert step == same and loss == pytest.approx(other, rel=1e-5) and norm == pytest.approx(other_norm, rel=1e-3)


@pytest.mark.slow
def test_a_run_of_a_list_of_denoisers_is_kept_as_it_was_written(tmp_path, corpus, tokenizer) -> None:
    mixture = [{"rate": 0.15, "mean_span": 3, "weight": 2}, {"rate": 0.25, "mean_span": 0}]
    sections: dict[str, Any] = {
        "objective": {"name": "span", "mixture": mixture},
        "train": {"max_steps": 2},
        "schedule": {"warmup_steps": 1},
    }
    config = spans(tmp_path / "list", corpus, tokenizer, **sections)
    run(config)
    directory = tmp_path / "list" / "runs" / "tiny"
    assert yaml.safe_load((directory / "config.yaml").read_text(encoding="utf-8"))["objective"]["mixture"] == mixture
    run(config)  # the checkpoint was trained with the same settings
    assert [step for step, *_ in curve(directory)] == [1, 2]


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_the_run(corpus, tokenizer, tmp_path) -> None:
    config = spans(tmp_path, corpus, tokenizer)
    for setting, named in (
        (("--stream.packing", "best_fit"), "stream.packing best_fit: inputs and targets of an encoder-decoder"),
        (("--stream.document_mask", "true"), "stream.document_mask: inputs and targets of an encoder-decoder"),
        (("--stream.seq_length", "2000", "--objective.mean_span", "1"), "makes 300 spans of 2000 tokens"),
    ):
        _, log = run(config, *setting, status=1)
        assert named in log
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_inspect_shows_inputs_and_targets(reference) -> None:
    from codeparrot.inspect_batch import inspect

    shown = inspect(str(reference[0]), 3)
    for window in shown.data["windows"]:
        assert len(window["inputs"]) + len(window["targets"]) == 32 + 2 * 2 + 2
    assert "<extra_id_1>" in shown.text and "targets: '<extra_id_0>'" in shown.text


def test_the_first_pass_of_ddp_has_the_lengths_of_a_step() -> None:
    """Others would be compiled besides, and take memory that no step takes."""
    from codeparrot.training.strategy import _settle_gradients

    seen: list[tuple[int, ...]] = []

    class Model:
        def register_comm_hook(self, *_: Any) -> None: ...
        def zero_grad(self, set_to_none: bool) -> None: ...
        def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
            seen.extend(tuple(each.shape) for each in tensors)
            return torch.zeros((), requires_grad=True)

    _settle_gradients(Model(), 2, (5, 3), "cpu")
    assert seen == [(2, 5), (2, 3)]

"""Runs of masked models: the same steps on any strategy and split, exact after a kill; checkpoints load in transformers."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from codeparrot.inspect_batch import inspect
from tests.launching import completed, curve, kill_behind_step, lines, run, start, train_command
from tests.training.kinds import tokenizer_with, write

BERT: dict[str, Any] = {
    **{"family": "bert", "vocab_size": 520, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 64, "max_position_embeddings": 32, "initializer_range": 0.1},
    **{"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}
EVALUATE = {"every_steps": 24, "micro_batch_size": 16, "likelihood_problems": "codeparrot", "humaneval_every_steps": 24}


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the tests with a mask and a padding token."""
    tokens = {"mask_token": "<mask>", "pad_token": "<pad>"}
    return tokenizer_with(tokens, tokenizer_folder, tmp_path_factory.mktemp("masked_tokenizer"))


def masked(folder: Path, corpus: Path, tokenizer: Path, **changes: Any) -> Path:
    """Write the configuration of a tiny masked run. `changes` are merged into its sections."""
    sections: dict[str, Any] = {"objective": {"name": "masked", "rate": 0.3}, "evaluate": EVALUATE} | changes
    return write(folder, corpus, tokenizer, **sections | {"model": {**BERT, **changes.get("model", {})}})


@pytest.fixture(scope="module")
def reference(tmp_path_factory, corpus, tokenizer) -> tuple[Path, str]:
    """An uninterrupted run on one process, and its log."""
    folder = tmp_path_factory.mktemp("reference")
    _, log = run(masked(folder, corpus, tokenizer))
    return folder / "runs" / "tiny", log


@pytest.mark.slow
def test_a_run_learns_and_says_what_it_does_not_measure(reference) -> None:
    directory, log = reference
    found = curve(directory)
    assert found[-1][1] < found[0][1] - 0.3
    assert "objective   masked language modelling, 30% of the tokens" in log
    assert len(re.findall("a masked model writes no text: no samples, likelihood", log)) == 1
    first, last = [line for line in lines(directory) if "eval_loss" in line]
    assert last["eval_loss"] < first["eval_loss"] - 0.3 and last["eval_tokens"] > 1000
    assert last["pseudo_perplexity"] == pytest.approx(2.718281828 ** last["eval_loss"], rel=1e-5)
    assert not {"perplexity", "bits_per_byte", "solution_bits_per_byte", "pass@1"} & {
        key for line in lines(directory) for key in line
    }
    assert not (directory / "log" / "samples.jsonl").exists()
    # Each step logs its tokens: hidden ones and the others.
    assert [line["tokens"] for line in lines(directory) if "loss" in line] == [256 * step for step in range(1, 25)]


@pytest.mark.slow
@pytest.mark.parametrize("launch", ["ddp", "fsdp", "zero2"])
def test_a_killed_run_of_two_processes_goes_on_exactly_and_is_the_run_of_one(
    tmp_path, corpus, tokenizer, reference, launch
) -> None:
    config, tiny = masked(tmp_path, corpus, tokenizer), tmp_path / "runs" / "tiny"
    split = ("--train.micro_batch_size", "1")
    process = start(config, "--checkpoint.background", "false", *split, num_processes=2, launch=launch)
    kill_behind_step(process, tiny / "metrics.jsonl", 12)
    before = {step: rest for step, *rest in curve(tiny)}
    _, err = run(config, *split, num_processes=2, launch=launch)
    assert "resumed at step 8" in err or "resumed at step 16" in err
    after = {step: rest for step, *rest in curve(tiny)}
    assert {step: after[step] for step in before} == before
    for (step, loss, norm), (same, other, other_norm) in zip(curve(tiny), curve(reference[0]), strict=True):
        assert step == same
        assert loss == pytest.approx(other, rel=1e-5)
        assert norm == pytest.approx(other_norm, rel=1e-3)
    ours, theirs = ([line["eval_loss"] for line in lines(place) if "eval_loss" in line] for place in (tiny, reference[0]))
    assert ours[-1] == pytest.approx(theirs[-1], rel=1e-5)
    streams = [place / "checkpoints" / "step_00000024" / "stream.json" for place in (tiny, reference[0])]
    assert streams[0].read_bytes() == streams[1].read_bytes()
    names = [sorted(path.name for path in place.with_name("model").iterdir()) for place in streams]
    assert names[0] == names[1]


@pytest.mark.slow
def test_a_checkpoint_loads_in_transformers_and_predicts_a_mask(reference, tmp_path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

    place = reference[0] / "checkpoints" / "step_00000024" / "model"
    assert json.loads((place / "config.json").read_text(encoding="utf-8"))["architectures"] == ["BertForMaskedLM"]
    model, info = AutoModelForMaskedLM.from_pretrained(place, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer: Any = AutoTokenizer.from_pretrained(place)
    fill: Any = pipeline("fill-mask", model=model, tokenizer=tokenizer)
    found = fill("import<mask>\n")
    assert len(found) == 5 and sum(each["score"] for each in found) > 0
    ids = torch.arange(32)[None]
    with torch.no_grad():
        assert model(ids).logits.shape == (1, 32, 520)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["complete", "--prompt", "import"],
        ["serve", "--port", "0"],
        ["eval", "humaneval", "--problems", "codeparrot"],
        ["eval", "perplexity", "--data", "CORPUS"],
        ["export", "--output", "m.gguf"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_commands_that_need_a_text_refuse_a_masked_model_in_one_line(words, reference, corpus, tmp_path) -> None:
    command = [train_command(1)[0], *words[:1], *([words[1]] if words[0] == "eval" else [])]
    rest = [str(corpus) if word == "CORPUS" else word for word in words[len(command) - 1 :]]
    done = completed([*command, "--checkpoint", str(reference[0]), *rest], tmp_path)
    assert done.returncode == 1 and "is a masked language model and cannot be used here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_inspect_shows_what_was_hidden_and_what_stood_there(reference) -> None:
    shown = inspect(str(reference[0]), 3)
    for window in shown.data["windows"]:
        hidden = {each["token"]: each["target"] for each in window["targets"]}
        assert hidden and len(window["inputs"]) == 32
        assert all(window["input_ids"][place] == target for place, target in hidden.items())
        assert all(
            one == other
            for place, (one, other) in enumerate(zip(window["inputs"], window["input_ids"], strict=True))
            if place not in hidden
        )
    assert "<mask>" in shown.text and "targets: " in shown.text


@pytest.mark.slow
def test_documents_apart_padding_an_average_and_z_loss_go_together(corpus, tokenizer, tmp_path) -> None:
    found = []
    for number, (processes, micro) in enumerate([(1, 4), (2, 1)]):
        changes: dict[str, Any] = {
            "stream": {"packing": "best_fit", "document_mask": True},
            "train": {"max_steps": 6, "micro_batch_size": micro, "ema_decay": 0.9, "z_loss": 1e-4},
            "checkpoint": {"every_steps": 0},
            "evaluate": {"every_steps": 6},
        }
        _, log = run(masked(tmp_path / str(number), corpus, tokenizer, **changes), num_processes=processes)
        assert "documents of a window do not see each other" in log
        found.append(lines(tmp_path / str(number) / "runs" / "tiny"))
    # Padding is part of what a mask is drawn for.
    directory = str(tmp_path / "0" / "runs" / "tiny")
    shown = (window for step in range(1, 7) for window in inspect(directory, step).data["windows"])
    assert len(next(window for window in shown if len(window["input_ids"]) < 32)["inputs"]) == 32
    for name in ("loss", "eval_loss", "ema_loss", "tokens", "eval_tokens"):
        one, two = ([line[name] for line in each if name in line] for each in found)
        assert one and one == pytest.approx(two, abs=1e-5)
    assert not any("ema_bits_per_byte" in line for line in found[0])


@pytest.mark.slow
def test_a_roberta_has_a_window_of_what_lies_behind_its_padding_token(corpus, tokenizer, tmp_path) -> None:
    few = {"train": {"max_steps": 4}, "checkpoint": {"every_steps": 0}, "evaluate": {"every_steps": 0}}
    roberta = {"family": "roberta", "max_position_embeddings": 32}
    _, log = run(masked(tmp_path / "roberta", corpus, tokenizer, model=roberta, **few), status=1)
    assert "model.max_position_embeddings 32, of which 514 are never used; set model.max_position_embeddings 546" in log
    from transformers import AutoTokenizer

    own: Any = AutoTokenizer.from_pretrained(tokenizer)
    ending = {"pad_token_id": own.eos_token_id, "max_position_embeddings": 64}
    _, log = run(masked(tmp_path / "roberta", corpus, tokenizer, model=roberta | ending, **few), status=1)
    assert "model.pad_token_id 0 is the tokenizer's end of documents, which would not be learned; leave it out" in log
    assert not (tmp_path / "roberta" / "runs").exists()
    roberta |= {"max_position_embeddings": 33 + own.pad_token_id}
    run(masked(tmp_path / "roberta", corpus, tokenizer, model=roberta, **few))
    assert len(curve(tmp_path / "roberta" / "runs" / "tiny")) == 4


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_the_run(corpus, tokenizer, tokenizer_folder, tmp_path) -> None:
    config = masked(tmp_path, corpus, tokenizer)
    _, log = run(config, "--tokenizer.path", str(tokenizer_folder), status=1)
    assert "objective.name masked: the tokenizer has no mask token" in log
    _, log = run(config, "--model.family", "gpt2", status=1)
    assert '"gpt2" is not a masked language model; name bert, roberta or modernbert' in log
    _, log = run(config, "--objective", '{"name": "causal"}', status=1)
    assert "sees the tokens that it is to predict" in log and "objective.name masked" in log
    assert not any(tmp_path.glob("runs/*/metrics.jsonl"))


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_a_masked_model(reference, corpus, tokenizer, tmp_path) -> None:
    config = masked(tmp_path, corpus, tokenizer, evaluate={"every_steps": 4, "micro_batch_size": 16})
    source = json.dumps({"from": str(reference[0])})
    few = ("--train.max_steps", "4", "--schedule.warmup_steps", "1")
    run(config, "--model", source, *few)
    first = next(line for line in lines(tmp_path / "runs" / "tiny") if "eval_loss" in line)
    last = [line for line in lines(reference[0]) if "eval_loss" in line][-1]
    assert first["step"] == 0 and first["eval_loss"] < last["eval_loss"] + 0.2
    shutil.rmtree(tmp_path / "runs")
    _, log = run(config, "--model", source, "--objective", '{"name": "causal"}', *few, status=1)
    assert "is a masked language model, no causal one; set objective.name masked to train it on" in log


@pytest.mark.slow
def test_the_card_loads_it_with_the_right_class_and_has_its_measures(reference) -> None:
    from codeparrot.location import Branch
    from codeparrot.publishing.card import model_card

    manifest = json.loads((reference[0] / "checkpoints" / "step_00000024" / "manifest.json").read_text(encoding="utf-8"))
    card = model_card(manifest, lines(reference[0]), {}, Branch("me/model", "tiny"), 1, plot=False)
    assert 'AutoModelForMaskedLM.from_pretrained("me/model", revision="tiny")' in card and "CausalLM" not in card
    assert "pipeline_tag: fill-mask" in card and "text-generation" not in card
    assert "pseudo-perplexity of hidden tokens" in card and "masked language modelling, 30% of the tokens" in card
    assert "| perplexity" not in card

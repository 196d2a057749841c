"""Evaluations during a run cost a small share of it, and the end of the run measures everything."""

import json

import pytest

from codeparrot.arguments import load_config, parse_config
from codeparrot.checks import check
from codeparrot.config import Config, EvaluateConfig
from codeparrot.errors import CodeparrotError
from codeparrot.generation.complete import generate_completions
from codeparrot.loading import find_model, load_model
from codeparrot.training.parts import fit
from codeparrot.training.places import check_places
from codeparrot.training.validation import BUDGET, sample_tokens
from tests.launching import curve, lines, run, write_config


@pytest.mark.parametrize("every_steps", [1, 70, 1000, 50_000, 10**6])
def test_the_evaluations_of_a_run_cost_at_most_the_budget(every_steps) -> None:
    config = Config()
    config.train.max_steps, config.train.global_batch_size, config.evaluate.every_steps = 50_000, 512, every_steps
    tokens, num_evaluations = 50_000 * 512 * 1024, 1 + 50_000 // every_steps
    cost = num_evaluations * sample_tokens(config) / (3 * tokens)  # a forward pass is a third of a step
    assert 0.99 * BUDGET < cost <= BUDGET


def test_what_else_is_measured_changes_no_sample() -> None:
    """A run in progress may get a further set; what was measured before and after must be the same windows."""
    config = Config()
    alone = sample_tokens(config)
    config.evaluate.also, config.train.ema_decay = {"go": "data/go", "tests": "data/tests"}, 0.999
    assert sample_tokens(config) == alone


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--evaluate.also", '{"a b": "x"}'], r'evaluate\.also "a b" is no name for a set'),
        (["--evaluate.also", '{"validation": "x"}'], r'evaluate\.also "validation" is no name for a set'),
        (["--evaluate.also", '{"go": "x"}', "--evaluate.every_steps", "0"], r"evaluate\.also is measured together with stream"),
        (["--evaluate.also", '{"go": "x"}', "--stream.valid", "[]"], r"evaluate\.also is measured together with stream\.valid"),
    ],
)
def test_further_sets_that_cannot_be_measured_are_refused(given, message) -> None:
    with pytest.raises(CodeparrotError, match=message):
        check(parse_config(["--tokenizer.path", "t", "--stream.train", "x", "--stream.valid", "y", *given]))


def test_a_further_set_that_is_not_there_is_refused_by_its_name(tmp_path, corpus, tokenizer_folder) -> None:
    config = load_config(write_config(tmp_path / "c.yaml", corpus, tokenizer_folder, evaluate={"every_steps": 4}))
    config.evaluate.also = {"go": "nowhere"}
    with pytest.raises(CodeparrotError, match=r"evaluate\.also go: nowhere does not exist"):
        check_places(config)
    config.evaluate.also = {"same": str(corpus / "train-00000-of-00003.parquet")}
    with pytest.raises(
        CodeparrotError, match=r"evaluate\.also same reads 1 of its 1 files .* set some aside .*, or leave it out"
    ):
        fit(config)


@pytest.mark.slow
def test_further_sets_have_lines_of_their_own_and_change_nothing_else(tmp_path, corpus, tokenizer_folder) -> None:
    further = tmp_path / "further.jsonl"
    further.write_text("".join(json.dumps({"content": "the same words " * 40}) + "\n" for _ in range(9)), encoding="utf-8")
    config = write_config(
        *(tmp_path / "c.yaml", corpus, tokenizer_folder),
        train={"max_steps": 8},
        evaluate={"every_steps": 4, "sample_tokens": 0, "max_tokens": 320, "micro_batch_size": 4},
    )
    run(config)
    also = ("--evaluate.also", json.dumps({"words": str(further), "own": str(corpus)}), "--run.name", "more")
    _, said = run(config, *also, num_processes=2)
    assert "words at step 8" in said and "(of the sample)" in said
    found = lines(tmp_path / "runs" / "more")
    of = {name: [line for line in found if line.get("set") == name] for name in ("words", "own")}
    own, main = of["own"], [line for line in found if "eval_loss" in line]
    assert [(line["step"], line["set_sample"]) for line in own] == [(0, True), (4, True), (8, False)]
    assert [line["step"] for line in of["words"]] == [0, 4, 8]
    # The same documents by another name have the same measures.
    for ours, theirs in zip(own, main, strict=True):
        assert ours["set_loss"] == theirs["eval_loss"] and ours["set_bits_per_byte"] == theirs["bits_per_byte"]
        assert ours["set_tokens"] == theirs["eval_tokens"]
    assert of["words"][-1]["set_loss"] != main[-1]["eval_loss"]
    # A set that is named when the run is finished is measured then.
    later = json.dumps({"words": str(further), "later": str(further)})
    run(config, "--evaluate.also", later, "--run.name", "more")
    last = [line for line in lines(tmp_path / "runs" / "more") if line.get("set") == "later"]
    assert [(line["step"], line["set_sample"]) for line in last] == [(8, False)]
    assert last[0]["set_loss"] == pytest.approx(of["words"][-1]["set_loss"], rel=1e-6)
    alone = curve(tmp_path / "runs" / "tiny")
    assert [loss for _, loss, _ in curve(tmp_path / "runs" / "more")] == pytest.approx([loss for _, loss, _ in alone], rel=1e-5)


@pytest.mark.slow
def test_a_run_measures_each_language_of_its_validation_set_exactly_on_any_number_of_processes(
    tmp_path, corpus, tokenizer_folder
) -> None:
    rows = [
        {"content": f"def f{n}():\n    return {n} + {n}\n" * (n % 9 + 1), "language": ("Python", "Go")[n % 2]}
        for n in range(60)
    ]
    (tmp_path / "valid.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = write_config(
        *(tmp_path / "c.yaml", corpus, tokenizer_folder),
        train={"max_steps": 4},
        stream={"valid": str(tmp_path / "valid.jsonl")},
        evaluate={"every_steps": 2, "sample_tokens": 0, "micro_batch_size": 4},
    )
    run(config)
    _, said = run(config, "--run.name", "two", num_processes=2)
    assert "by language: go, python" in said and "by language | go" in said
    ours, theirs = ([line for line in lines(tmp_path / "runs" / name) if "eval_languages" in line] for name in ("tiny", "two"))
    assert [line["step"] for line in ours] == [0, 2, 4]
    for one, two in zip(ours, theirs, strict=True):
        found = one["eval_languages"]
        assert list(found) == ["go", "python"] and sum(each["tokens"] for each in found.values()) == one["eval_tokens"]
        whole = sum(each["loss"] * each["tokens"] for each in found.values()) / one["eval_tokens"]
        assert whole == pytest.approx(one["eval_loss"], abs=1e-6)
        for name, each in found.items():
            assert two["eval_languages"][name]["tokens"] == each["tokens"]
            assert two["eval_languages"][name]["loss"] == pytest.approx(each["loss"], rel=1e-5)


def test_a_number_of_tokens_is_taken_as_it_is() -> None:
    config = Config()
    assert [sample_tokens(config) for config.evaluate.max_tokens in (0, 1, 123_456)] == [0, 1, 123_456]


@pytest.mark.parametrize(
    ("value", "message"), [("-1", "0 or more"), ("many", "evaluate.max_tokens is many; it must be a whole number or auto")]
)
def test_anything_else_is_refused(value, message, capsys) -> None:
    with pytest.raises((SystemExit, Exception)) as raised:
        parse_config(["--tokenizer.path", "t", "--stream.train", "x", "--stream.lanes", "1", f"--evaluate.max_tokens={value}"])
    assert message in capsys.readouterr().err + str(raised.value)


@pytest.mark.slow
def test_a_run_measures_the_same_sample_until_its_end_measures_everything(tmp_path, corpus, tokenizer_folder) -> None:
    config = write_config(
        *(tmp_path / "c.yaml", corpus, tokenizer_folder),
        train={"max_steps": 4},
        evaluate={"every_steps": 1, "sample_tokens": 0, "max_tokens": 640, "micro_batch_size": 128},
        schedule={"warmup_steps": 1},
        optim={"lr": 1e-12},
    )
    _, said = run(config)
    found = [line for line in lines(tmp_path / "runs" / "tiny") if "eval_loss" in line]
    assert [line["step"] for line in found] == [0, 1, 2, 3, 4]
    assert [line["eval_sample"] for line in found] == [True, True, True, True, False]
    # The model does not learn: equal losses mean the same windows.
    assert found[1]["eval_loss"] == pytest.approx(found[0]["eval_loss"], abs=1e-6) != found[4]["eval_loss"]
    assert {line["eval_tokens"] for line in found[:4]} == {found[0]["eval_tokens"]} and found[4]["eval_tokens"] > 10_000
    assert 560 < found[0]["eval_tokens"] <= 20 * 31
    assert " of them, always the same, during the run" in said
    # All of it at each evaluation.
    sampled = ("--evaluate.every_steps", "4", "--evaluate.sample_tokens", "12")
    _, said = run(config, "--run.name", "whole", "--evaluate.max_tokens", "0", *sampled)
    whole = [line for line in lines(tmp_path / "runs" / "whole") if "eval_loss" in line]
    assert [line["eval_sample"] for line in whole] == [False, False]
    assert whole[1]["eval_loss"] == pytest.approx(found[4]["eval_loss"], abs=1e-5)
    assert "tokens at each evaluation" in said
    # The completions of the prompts, side by side, are those of each alone.
    model, tokenizer = load_model(find_model(str(tmp_path / "runs" / "whole")))
    samples = (tmp_path / "runs" / "whole" / "log" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    last = {line["prompt"]: line["completion"] for line in map(json.loads, samples) if line["step"] == 4}
    assert list(last) == EvaluateConfig().prompts
    for prompt, completion in last.items():
        alone = generate_completions(model, tokenizer, prompt, temperature=0.8, max_new_tokens=12, seed=4, stop=())
        assert [completion] == alone

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.arguments import load_config, parse_config
from codeparrot.checks import check, check_world_size
from codeparrot.config import Config, StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.run import checkpoint
from codeparrot.setting import changeable
from tests.test_settings_files import LEAST, write

RECIPES = sorted(Path("configs").glob("*.yaml"))


def test_there_are_recipes() -> None:
    assert {path.stem for path in RECIPES} >= {"nano", "small", "xl"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_on_one_process_and_on_several(recipe) -> None:
    config = load_config(recipe)
    for world_size in (1, 2) if recipe.stem in ("micro", "nano", "nano-bert", "nano-t5") else (1, 2, 4, 8, 16):
        check_world_size(config, world_size)
    causal = config.objective.get("name", "causal") == "causal"
    assert config.evaluate.likelihood_problems == ("codeparrot" if causal else ""), "docs/evaluation.md says so"


def test_overrides_win_over_the_file_and_merge_into_the_model() -> None:
    config = parse_config(
        ["--config", "configs/nano.yaml", "--optim.lr", "3e-4", "--model.n_layer", "2", "--stream.train", "a"]
    )
    assert config.optim.lr == 3e-4
    assert (config.model["n_layer"], config.model["family"]) == (2, "gpt2")
    assert config.stream.train == "a"


def test_a_resolved_configuration_read_again_is_itself(tmp_path) -> None:
    config = parse_config(
        ["--config", "configs/nano.yaml", "--evaluate.prompts", '["é\\n", "b"]', "--stream.train", '["a", "b"]']
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("arguments", "train", "trackers"),
    [
        (["--stream.train", "a", "b", "--optim.lr", "1"], ["a", "b"], []),
        (["--stream.train", "a", "--stream.train=b"], ["a", "b"], []),
        (["--stream.train", "[a, b]"], ["a", "b"], []),
        (["--stream.train", "a", "--stream.train", "[]", "--stream.train", "b", "c"], ["b", "c"], []),
        (["--stream.train", "data/*[0-9].parquet"], "data/*[0-9].parquet", []),
        (["--stream.train", "a", "--tracking.trackers", "wandb"], "a", ["wandb"]),
        (["--tracking.trackers", "wandb", "tensorboard", "--stream.train", "a"], "a", ["wandb", "tensorboard"]),
    ],
)
def test_lists_are_given_as_to_other_commands(arguments: list[str], train: list[str] | str, trackers: list[str]) -> None:
    config = parse_config(["--tokenizer.path", "t", *arguments])
    assert (config.stream.train, config.tracking.trackers) == (train, trackers)


def test_a_list_wins_over_a_file_before_it_adds_to_it_with_a_plus_and_yields_to_one_behind_it(tmp_path) -> None:
    file = write(tmp_path / "a.yaml", "stream: {train: [a, b]}\ntokenizer: {path: t}\n")
    assert parse_config([*file, "--stream.train", "c", "d"]).stream.train == ["c", "d"]
    assert parse_config([*file, "--stream.train+", "c", "d"]).stream.train == ["a", "b", "c", "d"]
    assert parse_config(["--stream.train", "c", "d", *file]).stream.train == ["a", "b"]


@pytest.mark.parametrize("words", [["[{path: a, weight: 2}, {path: b}]"], ['{"path": "a", "weight": 2}', "{path: b}"]])
def test_sources_are_given_as_a_list_or_one_by_one(tmp_path, words: list[str]) -> None:
    config = parse_config([*LEAST, "--stream.train", "[]", "--stream.train", *words, "--stream.phases", "{until: 1}"])
    assert config.stream.train == [{"path": "a", "weight": 2}, {"path": "b"}]
    assert config.stream.phases == [{"until": 1}]
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml") == config
    more = parse_config(["--config", str(tmp_path / "config.yaml"), "--stream.train+", "{path: c}"])
    assert isinstance(more.stream.train, list) and more.stream.train[1:] == [{"path": "b"}, {"path": "c"}]


def test_switches_need_no_value_and_names_may_have_dashes() -> None:
    config = parse_config([*LEAST, "--train.compile", "--stream.seq-length", "32", "--hub.private", "false"])
    assert (config.train.compile, config.stream.seq_length, config.hub.private) == (True, 32, False)


@pytest.mark.parametrize(("value", "meant"), [("auto", "auto"), ("true", True), ("no", False)])
def test_a_switch_that_takes_a_word_besides_takes_it_from_the_next_argument(value: str, meant: bool | str) -> None:
    assert parse_config([*LEAST, "--train.compile", "--train.compile", value]).train.compile == meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--optim.learning_rate", '"optim.lr"'),
        ("--learning_rate", '"optim.lr"'),
        ("--lr", '"optim.lr"'),
        ("--train.lr", '"optim.lr"'),
        ("--train.batch_size", '"train.global_batch_size"'),
        ("--evaluate.batch-size", '"evaluate.micro_batch_size"'),
        ("--batch_size", '"train.global_batch_size" or "evaluate.micro_batch_size"'),
        ("--train.epochs", '"train.max_steps"'),
        ("--train.num_train_epochs", '"train.max_steps"'),
        ("--optim.max_grad_norm", '"optim.clip_norm"'),
        ("--stream.block_size", '"stream.seq_length"'),
        ("--train.block_size", '"stream.seq_length"'),
        ("--seed", '"run.seed"'),
        ("--train.gradient_accumulation_steps", '"train.micro_batch_size"'),
        ("--checkpoint.save_total_limit", '"checkpoint.keep_last"'),
        ("--report_to", '"tracking.trackers"'),
        ("--train.warmup", '"schedule.warmup_steps"'),
    ],
)
def test_a_name_that_other_programs_have_suggests_ours(tmp_path, capsys, given, meant) -> None:
    section, _, key = given[2:].rpartition(".")
    text = f"{section}:\n  {key}: 3\n" if section else f"{key}: 3\n"
    for arguments in ([given, "3"], write(tmp_path / "a.yaml", text)):
        with pytest.raises(SystemExit):
            parse_config([*LEAST, *arguments])
        assert f"did you mean {meant}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [("true", "full"), ("false", "none"), ("yes", "full"), ("", "full")],
)
def test_checkpointing_is_read_under_its_older_name(given, meant, tmp_path) -> None:
    spellings = [["--train.gradient_checkpointing", given], [f"--train.gradient-checkpointing={given}"]]
    if not given:
        spellings = [["--train.gradient_checkpointing"], ["--train.gradient_checkpointing", "--optim.lr", "1"]]
    for spelling in spellings:
        assert parse_config([*LEAST, *spelling]).train.activation_checkpointing == meant
    if given:
        file = write(tmp_path / "a.yaml", f"train: {{gradient_checkpointing: {given}, max_steps: 7}}\n")
        train = parse_config([*LEAST, *file]).train
        assert (train.activation_checkpointing, train.max_steps) == (meant, 7)
        # The last wins, whatever its name.
        behind = parse_config([*LEAST, *file, "--train.activation_checkpointing", "selective"])
        assert behind.train.activation_checkpointing == "selective"
    assert "gradient_checkpointing" not in parse_config(LEAST).to_yaml()


def test_a_wrong_value_under_the_older_name_is_an_error_of_todays(capsys) -> None:
    with pytest.raises(SystemExit):
        parse_config([*LEAST, "--train.gradient_checkpointing=7"])
    assert "train.activation_checkpointing is 7; it must be none, selective or full" in capsys.readouterr().err


def test_no_name_of_others_is_one_of_ours() -> None:
    ours = {name.rpartition(".")[2] for name in fields()}
    assert {word for field in fields().values() for word in field.metadata.get("also", ()) if word in ours} == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optim.lrr", "1"], 'unrecognized arguments: --optim.lrr 1; did you mean "optim.lr"?'),
        (["--optim.lr", "fast"], "error: optim.lr is fast; it must be a number ("),
        (["--optim.lr="], "error: optim.lr is empty; it must be a number ("),
        (["--train.max_steps", "2.5"], "error: train.max_steps is 2.5; it must be a whole number ("),
        (["--train.max_steps", "null"], "error: train.max_steps is null; it must be a whole number ("),
        (["--train.compile=maybe"], "error: train.compile is maybe; it must be true or false or auto ("),
        (["--train.precision", "int3"], "error: train.precision is int3; it must be auto, fp32, bf16 or fp16 ("),
        (["--train", "3"], "error: train is 3; it must be a section of settings, or a file with one ("),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_one_line(arguments, message, capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse_config([*LEAST, *arguments])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("codeparrot train: error: ")


def test_an_unknown_key_in_a_file_is_named_with_the_nearest(tmp_path, capsys) -> None:
    (tmp_path / "a.yaml").write_text("optim: {lrr: 3}\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        parse_config([*LEAST, "--config", str(tmp_path / "a.yaml")])
    error = capsys.readouterr().err
    assert 'error: there is no setting optim.lrr; did you mean "optim.lr"? (' in error


def test_an_unknown_section_in_a_file_is_named_with_the_nearest(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        parse_config([*LEAST, *write(tmp_path / "a.yaml", "optimizer: {lr: 3}\n")])
    assert 'error: there is no setting optimizer.lr; did you mean "optim.lr"? (' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--train.global_batch_size", "30", "--stream.lanes", "8"],
            r"nearest: train\.global_batch_size 32, or stream\.lanes 10",
        ),
        (
            ["--schedule.warmup_steps", "2000"],
            r"schedule\.warmup_steps 2000 is longer than the run; at most train\.max_steps 1000",
        ),
        (["--stream.lanes", "0"], r"stream\.lanes is 0; it must be at least 1"),
        (["--schedule.final_fraction", "1.5"], r"schedule\.final_fraction is 1\.5; it must be from 0 to 1"),
        (["--optim.beta1", "1.0"], r"optim\.beta1 is 1\.0; it must be 0 or more and below 1"),
        (["--optim.beta2", "1.0"], r"optim\.beta2 is 1\.0; it must be 0 or more and below 1"),
        (["--optim.lr", "0"], r"optim\.lr is 0\.0; it must be above 0"),
        (["--train.max_steps", "0"], r"train\.max_steps is 0; it must be at least 1"),
        (["--train.outlier_window", "8"], r"train\.outlier_window is 8; a standard deviation needs 16 or more"),
        (["--hub.retry_seconds", ".nan"], r"hub\.retry_seconds is nan; it must be above 0"),
        (["--optim.lr", ".inf"], r"optim\.lr is inf; it must be above 0 and finite"),
        (["--optim.lr", "1e999"], r"optim\.lr is inf; it must be above 0 and finite"),
        (["--train.startup_minutes", ".inf"], r"train\.startup_minutes is inf; it must be above 0 and finite"),
        (["--hub.timeout_seconds", "1e300"], r"hub\.timeout_seconds is 1e\+300; it must be above 0 and at most 86400"),
        (["--run.seed", str(2**70)], r"run\.seed is 1180591620717411303424; it must be 0 or more and at most 9,223,"),
        (["--train.max_steps", str(2**64)], r"train\.max_steps is 18446744073709551616; it must be at least 1 and at most 9,"),
        (["--evaluate.max_tokens", "-1"], r"evaluate\.max_tokens is -1; it must be 0 or more"),
        (["--model.initializer_range", ".nan"], r"model\.initializer_range is nan; it must be finite"),
        (["--model", "{family: llama, rope_parameters: {rope_theta: .inf}}"], r"model\.rope_parameters\.rope_theta is inf"),
        (["--train.global_batch_size", "1000000000001", "--stream.lanes", "2"], r"stream\.lanes 1$"),
        (["--run.name", "a/b"], "not a plain folder name"),
        (["--run.name", "caf\udce9"], r"run\.name 'caf\\udce9' is not UTF-8; choose another name"),
        (["--run.dir", "caf\udce9"], r"run\.dir 'caf\\udce9' is not UTF-8; choose another name"),
        (["--stream.seq_length", "1"], "at least 2 tokens"),
        (["--stream.train", "[]"], r"stream\.train is empty"),
        (
            ["--stream.packing", "best_fit", "--stream.order", "documents"],
            r"best_fit packs blocks of windows; set stream\.order w",
        ),
        (["--optim.embedding_lr", "1e-3"], r"optim\.embedding_lr is for optim\.name muon, and this run's is adamw"),
        (
            ["--checkpoint.keep_every_steps", "160"],
            r"keep_every_steps 160 is not a multiple of checkpoint\.every_steps 1000, .*; nearest: 1000$",
        ),
    ],
)
def test_impossible_combinations_name_the_key_and_the_nearest_value(arguments, message) -> None:
    with pytest.raises(CodeparrotError, match=message):
        parse_config([*LEAST, *arguments])


def fields() -> dict[str, dataclasses.Field[Any]]:
    """Every field of the configuration's sections, by its dotted name."""
    sections = {name: value for name, value in vars(Config()).items() if dataclasses.is_dataclass(value)}
    return {f"{name}.{field.name}": field for name, section in sections.items() for field in dataclasses.fields(section)}


WITHOUT_UNIT = (
    "run.seed train.z_loss train.ema_decay optim.lr optim.weight_decay optim.beta1 optim.beta2 optim.eps optim.momentum "
    "optim.embedding_lr optim.head_lr optim.vector_lr optim.clip_norm schedule.final_fraction schedule.decay_fraction "
    "schedule.decay_now"
).split()


def test_every_number_states_its_range_and_its_unit() -> None:
    numbers = {name: field for name, field in fields().items() if type(field.default) in (int, float)}
    assert len(numbers) > 30
    for name, field in numbers.items():
        assert field.metadata.get("rule"), f"{name} has no range"
        assert field.metadata["rule"].holds(field.default), f"the default of {name} is out of its range"
        assert field.metadata["unit"] or name in WITHOUT_UNIT, f"{name} has no unit"


def test_a_resumed_run_may_change_what_does_not_change_the_result() -> None:
    assert (
        list(changeable(Config()))
        == (
            "run.name run.dir tokenizer.path stream.train stream.valid stream.on_error stream.encoder "
            "stream.prefetch_batches train.micro_batch_size train.activation_checkpointing train.compile "
            "train.attention train.log_every_steps train.max_skipped_steps train.startup_minutes train.timeout_minutes "
            "evaluate checkpoint tracking hub resume parent"
        ).split()
    )
    assert list(changeable(StreamConfig())) == ["train", "valid", "on_error", "encoder", "prefetch_batches"]


def test_a_world_size_that_does_not_fit_names_those_that_do() -> None:
    config = parse_config([*LEAST, "--stream.lanes", "8", "--train.global_batch_size", "16", "--train.micro_batch_size", "4"])
    with pytest.raises(CodeparrotError, match=r"3 processes do not divide stream\.lanes 8; start one of 1, 2, 4, 8 processes"):
        check_world_size(config, 3)
    with pytest.raises(CodeparrotError, match=r"micro_batch_size 4 does not divide 2, the windows .* nearest: 2"):
        check_world_size(config, 8)


@given(st.integers(1, 64), st.integers(1, 512), st.integers(1, 64), st.integers(1, 16))
def test_what_an_error_proposes_is_accepted(lanes, batch, micro, world_size) -> None:
    """Following the remedies leads to a valid configuration in at most a few corrections."""
    import re

    config = Config()
    config.stream.train, config.tokenizer.path, config.stream.lanes = "d", "t", lanes
    config.train.global_batch_size, config.train.micro_batch_size = batch, micro
    for _ in range(5):
        try:
            check(config)
            check_world_size(config, world_size)
            break
        except CodeparrotError as error:
            if found := re.search(r"nearest: train\.global_batch_size (\d+)", str(error)):
                config.train.global_batch_size = int(found[1])
            elif found := re.search(r"\(e\.g\. (\d+)\)", str(error)):
                config.stream.lanes = int(found[1])
            elif found := re.search(r"nearest: (\d+)$", str(error)):
                config.train.micro_batch_size = int(found[1])
    else:
        raise AssertionError("the remedies lead nowhere")
    assert config.train.global_batch_size == config.micro_batches(world_size) * world_size * config.train.micro_batch_size


def test_recipes_of_one_size_differ_in_hyperparameters_and_not_in_the_model() -> None:
    for size in ("small", "xl"):
        ours, theirs = (load_config(Path("configs") / f"{name}{size}.yaml") for name in ("", "codeparrot-"))
        assert {**ours.model, "initializer_range": 0} == {**theirs.model, "initializer_range": 0}
        assert (ours.optim.beta2, ours.schedule.name, ours.schedule.final_fraction) == (0.95, "linear", 0.0)
        tokens = [each.train.max_steps * each.train.global_batch_size * each.stream.seq_length for each in (ours, theirs)]
        assert tokens[0] == pytest.approx(tokens[1], rel=0.01)
        assert 3.5e8 < ours.schedule.warmup_steps * tokens[0] / ours.train.max_steps < 4e8  # 375M tokens, as GPT-3


def test_recipes_hold_the_published_hyperparameters() -> None:
    small, xl = (load_config(Path(f"configs/codeparrot-{size}.yaml")) for size in ("small", "xl"))
    assert (small.optim.lr, small.schedule.warmup_steps, small.train.global_batch_size, small.train.max_steps) == (
        *(5e-4, 2000, 192, 150_000),
    )
    assert (xl.optim.lr, xl.schedule.warmup_steps, xl.train.global_batch_size, xl.train.max_steps) == (2e-4, 750, 512, 50_000)
    assert (xl.train.activation_checkpointing, small.train.activation_checkpointing) == ("full", "none")
    for config in (small, xl):
        assert (config.stream.seq_length, config.optim.weight_decay, config.optim.clip_norm) == (1024, 0.1, 1.0)
        assert config.schedule.name == "cosine"
        assert {config.model[name] for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")} == {0.0}


def test_every_field_has_a_docstring_in_help(capsys) -> None:
    with pytest.raises(SystemExit):
        parse_config(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in fields():
        before, _, after = text.rpartition(f"--{name} ")
        assert before, f"{name} has no option"
        words = after.split(" --")[0].split("(")[0]
        assert len(words.split()) > 3, f"{name} has no docstring"


def test_a_run_that_was_begun_under_the_older_name_goes_on() -> None:
    saved = dataclasses.asdict(Config())
    del saved["train"]["activation_checkpointing"]
    saved["train"]["gradient_checkpointing"] = True
    assert checkpoint.completed(saved)["train"]["activation_checkpointing"] == "full"
    assert checkpoint.changes_that_matter(saved, dataclasses.asdict(Config())) == []

"""Files of settings: what they may hold, and how several of them add up."""

from pathlib import Path

import pytest

from codeparrot.arguments import parse_config

LEAST = ["--stream.train", "d", "--tokenizer.path", "t"]


def write(place: Path, text: str, encoding: str = "utf-8") -> list[str]:
    place.write_bytes(text.encode(encoding))
    return ["--config", str(place)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optim:\n  lr: 0.1\ntrain:\n  max_steps: 10\noptim:\n  beta2: 0.9\n", '"optim" stands twice, in lines 1 and 5'),
        ("optim:\n  lr: 0.1\n  lr: 0.2\n", '"lr" stands twice, in lines 2 and 3'),
        ("model: {n_layer: 1, family: gpt2, n_layer: 2}\n", '"n_layer" stands twice, in line 1'),
        ("optim.lr: 0.1\noptim:\n  beta2: 0.9\n", '"optim" stands twice, in lines 1 and 2'),
        ("optim:\n  lr: [\n", "a.yaml: line 2: a bracket is not closed"),
        ("optim:\n  lr: [1, 2\nrun: {seed: 1}\n", "a.yaml: line 2: a bracket is not closed"),
        ('run:\n  name: "one\n  seed: 1\n', "a.yaml: line 2: a quote is not closed"),
        ("optim:\n  lr: 1\n    beta2: 0.9\n", "a.yaml: line 3: this line or the one before it has a wrong indentation"),
        ("optim:\n  lr 1\n  beta2: 0.9\n", "a.yaml: line 3: this line or the one before it has"),
        ("optim:\n   lr: 1\n  beta2: 0.9\n", "a.yaml: line 3: it is indented differently from the lines above"),
        ("optim:\n  - lr: 1\n  beta2: 0.9\n", "a.yaml: line 3: it is indented differently from the lines above"),
        ("optim:\n\tlr: 1\n", "a.yaml: line 2: a tab; indent with spaces"),
        ("stream:\n  train: *.parquet\n", "a.yaml: line 2: a value that begins with * needs quotes"),
        ("hub:\n  repo: @me/x\n", "a.yaml: line 2: a value that begins with @ needs quotes"),
        ('run:\n  name: "one" two\n', 'a.yaml: line 2: "two" cannot stand there'),
        ("run:\n  name: ]\n", 'a.yaml: line 2: "]" cannot stand there'),
        ("run:\n  name: !mine\n", "a.yaml: line 2: a value that begins with ! needs quotes"),
        *((sign * 100_000, "a.yaml: nested more than 100 deep") for sign in ("[", "{a: ", "- ")),
    ],
)
def test_a_file_of_which_something_would_be_dropped_is_refused_with_both_lines(tmp_path, capsys, text, message) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse_config([*LEAST, *write(tmp_path / "a.yaml", text)])
    error = capsys.readouterr().err
    assert exit_info.value.code == 2 and message in error and str(tmp_path / "a.yaml") in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, "own.yaml holds no settings")
            for text in ("", "# optim: {lr: 1}\n", "- optim\n", "hello\n", "[]", "null", "3")
        ),
        ("run: {seed: 1}\noptim:\n", "optim is null; give it a value"),
        ("optim: {lr: null}\n", "optim.lr is null; give it a value"),
        ("stream: {on_error: null}", "stream.on_error is null; give it a value"),
        ("evaluate: {prompts: ~}\n", "evaluate.prompts is null; give it a value"),
        ("run: {seed: 1}\nmodel:\n", "model is null; give it a value"),
        ("resume: null\nrun: {seed: 1}\n", "resume is null; give it a value"),
        ("optim: [1, 2]\n", "optim is [1, 2]; it must be a section of settings"),
        ("train: 3", "train is 3; it must be a section of settings"),
        ("train: {max_steps: many}", "train.max_steps is many; it must be a whole number"),
    ],
)
def test_what_a_file_leaves_empty_is_named(tmp_path, capsys, text: str, message: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_config([*LEAST, *write(tmp_path / "own.yaml", text)])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_model_in_a_second_file_adds_to_that_of_the_first_unless_it_is_of_another_family(tmp_path) -> None:
    base = [*LEAST, *write(tmp_path / "base.yaml", "model: {family: gpt2, n_layer: 2, n_head: 4}\n")]
    wider = write(tmp_path / "wider.yaml", "model: {n_layer: 3, n_embd: 64}\n")
    assert parse_config([*base, *wider]).model == {"family": "gpt2", "n_layer": 3, "n_head": 4, "n_embd": 64}
    assert parse_config([*LEAST, "--model.n_inner", "8", *base[-2:]]).model["n_inner"] == 8
    other = write(tmp_path / "other.yaml", "model: {family: llama, hidden_size: 64}\n")
    assert parse_config([*base, *other]).model == {"family": "llama", "hidden_size": 64}


def test_a_section_in_a_flag_is_no_different(capsys) -> None:
    with pytest.raises(SystemExit):
        parse_config([*LEAST, "--optim", "{lr: 1, lr: 2}"])
    assert '"lr" stands twice' in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_of_settings_is_read_in_every_encoding_that_says_which_it_is(tmp_path, encoding) -> None:
    assert parse_config([*LEAST, *write(tmp_path / "a.yaml", "run:\n  name: é漢\n", encoding)]).run.name == "é漢"


def test_a_file_of_settings_in_another_encoding_is_named_with_the_byte(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse_config([*LEAST, *write(tmp_path / "a.yaml", "run:\n  name: é\n", "latin-1")])
    assert exit_info.value.code == 2
    assert "a.yaml is not UTF-8: byte 13 is 0xe9, in line 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_config([*LEAST, "--run", str(tmp_path / "a.yaml")])
    assert "is not UTF-8: byte 13 is 0xe9" in capsys.readouterr().err

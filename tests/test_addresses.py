"""Which arguments take addresses: what docs/data.md says is what the commands do."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from codeparrot.cli import COMMANDS, main
from tests.corpus.samples import make, write_repositories
from tests.launching import ROOT
from tests.s3_server.fixture import S3Server, s3

__all__ = ["s3"]
WITHOUT = {"corpus sql"}
"""Commands without the path of anything."""
MORE = {
    "corpus build": "--source python --output out",
    "corpus report": "--corpus {corpus}",
    "corpus tokenize": "--corpus {corpus} --tokenizer {tokenizer} --output out",
    "corpus pairs": "--corpus {corpus} --output out",
    "corpus push": "--repo a/b",
    "tokenizer train": "--corpus {corpus} --vocab_size 1000 --output out",
    "tokenizer report": "--corpus {corpus} --tokenizer {tokenizer}",
    "tokenizer show": "text",
    "tokenizer push": "--repo a/b",
    "train": "{nano} --stream.train {corpus} --stream.valid {corpus} --tokenizer.path {tokenizer} --run.dir out",
    "plan": "{nano} --stream.train {corpus} --tokenizer.path {tokenizer} --gpus 1 --gpu a100-40gb --objective.fim_rate 0",
    "scale run": "{nano} --stream.train {corpus} --tokenizer.path {tokenizer} --output out",
    "scale predict": "--parameters 1000 --tokens 1000",
    "inspect": "--step 1",
    "eval retrieval": "--checkpoint {model} --pairs {corpus}",
    "eval explain": "--checkpoint {model} --pairs {corpus}",
    "eval perplexity": "--checkpoint {model} --data {corpus}",
    "eval humaneval": "--checkpoint {model}",
    "eval infilling": "--checkpoint {model}",
    "eval likelihood": "--checkpoint {model}",
    "complete": "--checkpoint {model} --prompt x",
    "serve": "--checkpoint {model}",
    "export": "--format gguf --checkpoint {model} --output out.gguf",
    "embed": ". --checkpoint {model} --output out.parquet",
    "search build": ". --checkpoint {model} --output out",
    "search query": "text --index out",
}
"""What a command needs besides the argument that is tried."""
LATE = {("scale run", "--tokenizer.path"), ("search query", "--checkpoint")}
"""What a command looks at after it has trained, or opened an index; `train` and `search build` refuse the same."""
BY_POSITION = {"runs": "{}", "the folder": "{}", "the tree": "{}", "evaluations": "{} {}"}


def table() -> list[tuple[str, str, str]]:
    """Return command, argument and what holds, for each argument in the documentation."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").partition("### Which arguments take addresses")[2]
    rows: list[tuple[str, str, str]] = []
    for line in text.partition("\n## ")[0].splitlines():
        if line.startswith("| `"):
            commands, arguments, holds = (each.strip() for each in line.strip("|").split("|"))
            for command in re.findall("`([^`]+)`", commands):
                named = re.findall("`(--[^`]+)`", arguments) or [arguments]
                rows += [(command, argument, holds) for argument in named]
    return rows


def words(command: str, argument: str, address: str, places: dict[str, str]) -> list[str]:
    """Return the command with an address in the place of an argument."""
    nano = f"--config {ROOT / 'configs' / 'nano.yaml'}"
    more = shlex.split(MORE.get(command, "").format(**places, nano=nano))
    if argument in BY_POSITION:
        rest = more[1:] if command in ("embed", "search build") else more
        return [*command.split(), *BY_POSITION[argument].replace("{}", address).split(), *rest]
    flag, _, prefix = argument.partition(" ")
    if (command, flag) == ("export", "--output"):
        address += ".gguf"
    if (command, flag) == ("embed", "--output"):
        address += ".parquet"
    if (command, flag) in {("complete", "--file")}:
        more = more[:-2]
    if command == "hub promote" or flag in ("--samples_file",):
        more = []
    if (command, flag) == ("plot", "--output"):
        more = [places["run"]]
    if (command, flag) == ("plan", "--figure"):
        address += ".png"
    if command == "tree" and flag == "--output":
        more = ["out"]
    if command == "scale fit" and flag == "--output":
        more = ["x"]
    while flag in more:
        place = more.index(flag)
        more[place : place + 2] = []
    return [*command.split(), *more, flag, f"{prefix}{address}"]


@pytest.fixture(scope="module")
def places(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("places")
    make(write_repositories(folder / "raw", 4, 4), folder / "corpus")
    shutil.copytree(tokenizer_folder, folder / "model")
    GPT2LMHeadModel(GPT2Config(vocab_size=2000, n_embd=8, n_layer=1, n_head=1)).save_pretrained(folder / "model")
    own = {name: str(folder / name) for name in ("corpus", "model")}
    return {**own, "tokenizer": str(tokenizer_folder), "run": "x"}


def test_the_table_names_every_command() -> None:
    assert {command for command, _, _ in table()} | WITHOUT == {*COMMANDS}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "argument"), [row[:2] for row in table() if row[2] == "no" and row[:2] not in LATE])
def test_an_address_is_refused_in_one_line_where_there_is_no(
    command: str, argument: str, places: dict[str, str], tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words(command, argument, "s3://bucket/x", places)) == 1
    said = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.search(r"s3://bucket/x\S* is an address, (where a folder or a file here is asked for|and not on the Hub)", said)


@pytest.mark.slow
def test_what_the_table_calls_read_is_looked_for_there(
    s3: S3Server, places: dict[str, str], tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    for command, argument in [row[:2] for row in table() if row[2] == "reads" and row[0] not in ("plan", "scale run")]:
        assert main(words(command, argument, "s3://bucket/none", places)) == 1, command
        said = capfd.readouterr().err.strip().splitlines()[-1]
        assert re.search(r"s3://bucket/none\S* (does not exist|is not a corpus)", said), (command, argument, said)
    assert main(words("plan", "--stream.train", "s3://bucket/none", places)) == 0
    assert "s3://bucket/none does not exist" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", [row[0] for row in table() if row[2] == "writes"])
def test_what_the_table_calls_written_goes_to_stores_and_not_to_web_servers(
    command: str, places: dict[str, str], tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words(command, "--output", "https://host/x", places)) == 1
    assert "https://host/x: nothing is written to web servers" in capfd.readouterr().err

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from codeparrot.arguments import join_lists
from codeparrot.cli import main
from tests.corpus.samples import COMMAND, write_repositories


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_repositories(tmp_path_factory.mktemp("raw"), repositories=2, files=3)
    for repository in root.iterdir():
        (repository / "pyproject.toml").touch()
    return root


def build(raw: Path, output: Path, *arguments: str) -> int:
    return main(["corpus", "build", "--output", str(output), "--workers", "1", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "{raw}/repo0", "{raw}/repo1"],
        ["--source", "{raw}/repo0", "--source", "{raw}/repo1"],
        ["--source={raw}/repo0", "--source+", "{raw}/repo1"],
        ["--source", "[{raw}/repo0, {raw}/repo1]"],
    ],
)
def test_several_sources_can_be_given_in_every_natural_way(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    status = build(raw, tmp_path / "out", *(each.replace("{raw}", str(raw)) for each in arguments), "--json")
    assert status == 0
    assert json.loads(capsys.readouterr().out)["settings"]["source"] == [f"{raw}/repo0", f"{raw}/repo1"]


def test_a_build_and_a_report_print_what_was_made(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(raw, tmp_path / "out", "--source", str(raw)) == 0
    printed = capsys.readouterr()
    assert "6 documents" in printed.out
    assert all(" so far" in line for line in printed.err.splitlines()), "only lines of progress, on a slow machine"
    assert main(["corpus", "report", "--corpus", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 6


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--source"], 2, "expected one argument"),
        ([], 2, "error: missing --source ("),
        (["--source", "{raw}", "--fliters.min_size", "3"], 2, 'did you mean "filters.min_size"'),
        (["--source", "{raw}", "--seed", "first"], 2, "seed"),
        (["--source", "[]"], 1, "no source is given"),
        (["--source", "{raw}", "--valid_fraction", "1"], 1, "valid_fraction is 1"),
        (["--source", "{raw}", "--max_bytes", "-1"], 1, "max_bytes is -1"),
        (["--source", "{raw}", "--shard_bytes", "0"], 1, "shard_bytes is 0"),
        (["--source", "{raw}", "--filters.min_size", "5", "--filters.max_size", "4"], 1, "above"),
        (["--source", "{raw}/nothing"], 1, "does not exist"),
    ],
)
def test_wrong_arguments_are_one_line(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    try:
        result = build(raw, tmp_path / "out", *(each.replace("{raw}", str(raw)) for each in arguments))
    except SystemExit as exit:
        result = exit.code
    printed = capsys.readouterr()
    assert (result, printed.out) == (status, "")
    assert message in printed.err and printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["build", "report"])
def test_help_answers_without_the_heavy_libraries(command: str) -> None:
    program = f"""
import sys
from codeparrot.cli import main
try:
    main(["corpus", "{command}", "--help"])
except SystemExit:
    print([name for name in ("torch", "pyarrow", "datasets", "numpy") if name in sys.modules])
"""
    output = subprocess.check_output([COMMAND[0], "-c", program], text=True)
    assert output.endswith("[]\n")
    assert "--source" in output or command == "report"


def lists(source: list[str], seed: int = 0, sizes: tuple[int, ...] = (), names: list[Path] | None = None) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--source", "a"], ['--source=["a"]']),
        (["--source", "a", "b", "--seed", "-1"], ['--source=["a", "b"]', "--seed", "-1"]),
        (["--source", "a", "--seed", "1", "--source", "b", "x"], ["--seed", "1", '--source=["a", "b", "x"]']),
        (["--source+", "a", "--source+", "b"], ['--source+=["a", "b"]']),
        (["--source=a", "--source+=b"], ['--source=["a", "b"]']),
        (["--source", "a", "--sizes", "1", "2"], ['--source=["a"]', "--sizes=[1, 2]"]),
        (["--source", "1", "--names", "2"], ['--source=["1"]', '--names=["2"]']),
        (["--source", "[a", "{b}"], ['--source=["[a", "{b}"]']),
        (["--source"], ["--source"]),
        (["--source", "[]"], ["--source=[]"]),
        (["stray", "--source=a", "word"], ["stray", '--source=["a"]', "word"]),
        (["--help"], ["--help"]),
    ],
)
def test_the_values_of_a_list_flag_become_one(arguments: list[str], expected: list[str]) -> None:
    assert join_lists(arguments, lists) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a"], ['["a"]']),
        (["a", "b", "--seed", "1"], ['["a", "b"]', "--seed", "1"]),
        (["--seed", "1", "a", "--seed=2", "b"], ["--seed", "1", "--seed=2", '["a", "b"]']),
    ],
)
def test_words_without_a_flag_become_the_first_list(arguments: list[str], expected: list[Any]) -> None:
    assert join_lists(arguments, lists, positional=True) == expected


def test_help_is_quick() -> None:
    start = time.perf_counter()
    subprocess.check_output([*COMMAND, "corpus", "build", "--help"])
    assert time.perf_counter() - start < 5

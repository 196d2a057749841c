"""`--recipe`: a file of settings that the command line can change."""

import json
from pathlib import Path

import pytest
import yaml

from codeparrot.arguments import recipes
from codeparrot.cli import main
from tests.corpus.planted import documents, pairs, write_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    planted = [*documents(30, tokens=200), *(each for pair in pairs(0.8, 5) for each in pair)]
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", planted)


def build(rows: Path, output: Path, *arguments: str) -> int:
    return main(["corpus", "build", "--source", str(rows), "--output", str(output), "--workers", "1", *arguments])


def settings(output: Path) -> dict:
    return json.loads((output / "statistics.json").read_text())["settings"]


@pytest.mark.parametrize("flags_first", [False, True])
def test_flags_win_over_the_recipe_and_the_recipe_over_the_defaults(rows: Path, tmp_path: Path, flags_first: bool) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"seed": 4, "shard_bytes": 9_000, "near_duplicates": {"threshold": 0.9, "ngram": 3}}))
    flags = ["--seed", "5", "--near_duplicates.ngram", "2"]
    chosen = ["--recipe", str(recipe)]
    assert build(rows, tmp_path / "out", *(flags + chosen if flags_first else chosen + flags)) == 0
    found = settings(tmp_path / "out")
    assert (found["seed"], found["shard_bytes"], found["keep_removed"]) == (5, 9_000, 20)
    assert found["near_duplicates"] == {"threshold": 0.9, "ngram": 2, "permutations": 256}


@pytest.mark.parametrize("name", ["codeparrot", "stack"])
def test_the_recipes_that_ship_are_known_by_name_and_build(rows: Path, tmp_path: Path, name: str) -> None:
    # The rows name no licence and have no comments.
    flags = ["--licenses.unknown", "keep", "--filters.min_comment_fraction", "0"]
    assert build(rows, tmp_path / "name", "--recipe", name, *flags) == 0
    assert build(rows, tmp_path / "path", f"--recipe=configs/corpus/{name}.yaml", *flags) == 0
    assert settings(tmp_path / "name") == settings(tmp_path / "path")
    recipe = yaml.safe_load(recipes("corpus")[name].read_text())
    assert settings(tmp_path / "name")["near_duplicates"] == recipe["near_duplicates"]


def test_a_recipe_that_is_not_there_is_named_with_the_nearest(rows: Path, tmp_path: Path, capsys) -> None:
    for name, said in (("stak", 'did you mean "stack"?'), ("other.yaml", "name a YAML file, or codeparrot or stack")):
        with pytest.raises(SystemExit, match="2"):
            build(rows, tmp_path / "out", "--recipe", name)
        assert f'{name}" does not exist; {said} (' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 4", 'did you mean "seed"'),
        ("near_duplicates: {treshold: 1}", 'did you mean "near_duplicates.threshold"'),
        ("near_duplicates: {ngram: many}", "ngram"),
        ("seed: first", "seed"),
        ("seed: [", "wrong.yaml: line 1: a bracket is not closed"),
    ],
)
def test_a_wrong_recipe_is_one_line(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    for file in ("wrong.yaml", "nothing.yaml"):
        with pytest.raises(SystemExit) as exit:
            build(rows, tmp_path / "out", "--recipe", str(tmp_path / file))
        printed = capsys.readouterr()
        assert exit.value.code == 2 and printed.err.count("\n") == 1
        assert (message if file == "wrong.yaml" else "does not exist") in printed.err

"""pass@1 and infilling of a run are measured while it trains, and never end it."""

import json
from pathlib import Path

import pytest

from tests.conftest import with_sentinels
from tests.launching import lines, require, run, weights, write_config

PROBLEM = {
    "task_id": "one",
    "prompt": "def one():\n",
    "entry_point": "one",
    "test": "def check(candidate):\n    assert candidate() == 1\n",
    "canonical_solution": "    return 1\n",
}


GAP = {**PROBLEM, "prompt": "def one():\n    return ", "canonical_solution": "1", "suffix": "\n"}


@pytest.fixture(scope="module")
def gaps(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gaps") / "gaps.jsonl"
    path.write_text("".join(json.dumps({**GAP, "task_id": f"gap/{number}"}) + "\n" for number in range(3)))
    return path


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("problems") / "own.jsonl"
    path.write_text("".join(json.dumps({**PROBLEM, "task_id": f"own/{number}"}) + "\n" for number in range(4)))
    return path


def train(folder: Path, corpus, tokenizer, num_processes: int = 1, **evaluate) -> tuple[Path, str]:
    folder.mkdir()
    settings = {"every_steps": 0, "humaneval_samples": 2, **evaluate}
    sections = {"evaluate": settings, "train": {"max_steps": 12}, "model": {"vocab_size": 515}}
    config = write_config(folder / "c.yaml", corpus, tokenizer, **sections)
    _, err = run(config, num_processes=num_processes)
    return folder / "runs" / "tiny", err


@pytest.mark.slow
def test_a_run_is_measured_beside_its_training_and_trains_the_same(tmp_path, corpus, tokenizer_folder, problems, gaps) -> None:
    require("bwrap", "generated programs run in it")
    tokenizer_folder = with_sentinels(tokenizer_folder, tmp_path / "tokenizer")
    measured = {"humaneval_every_steps": 8, "humaneval_problems": str(problems), "humaneval_limit": 3}
    measured |= {"infilling_every_steps": 6, "infilling_problems": str(gaps), "infilling_limit": 2}
    alone, _ = train(tmp_path / "alone", corpus, tokenizer_folder)
    one, _ = train(tmp_path / "one", corpus, tokenizer_folder, **measured)
    two, _ = train(tmp_path / "two", corpus, tokenizer_folder, num_processes=2, **measured)
    assert weights(one, 12) == weights(alone, 12)
    for folder in (one, two):
        found = [line for line in lines(folder) if "pass@1" in line]
        assert [(line["step"], line["tokens"]) for line in found] == [(8, 8 * 8 * 32), (12, 12 * 8 * 32)]
        assert all(line["num_samples"] == 6 and line["problems"] == "own.jsonl" and "pass@2" in line for line in found)
        assert all(line["limit"] == 3 for line in found), "three of four problems"
        assert (folder / "plots" / "pass_at_k.png").stat().st_size > 5000
        assert all(sum(line["outcomes"].values()) == 6 and line["prompt_style"] == "healed" for line in found)
        found = [line for line in lines(folder) if "infilling_pass@1" in line]
        of = "gaps.jsonl", "psm"
        assert [(line["step"], line["problems"], line["fim_order"]) for line in found] == [(6, *of), (12, *of)]
        assert all({"infilling_exact_match", "infilling_edit_similarity", "tokens"} <= line.keys() for line in found)
        assert all(line["num_samples"] == sum(line["outcomes"].values()) == 2 for line in found)


@pytest.mark.slow
def test_what_fails_there_is_reported_and_training_goes_on(tmp_path, corpus, tokenizer_folder) -> None:
    settings = {"humaneval_every_steps": 8, "humaneval_problems": "/nowhere/p.jsonl", "infilling_every_steps": 8}
    folder, err = train(tmp_path / "run", corpus, tokenizer_folder, **settings)
    assert "no infilling in this run: infilling in the order psm (unlike prefix) needs a tokenizer with <fim_prefix>" in err
    assert "no unit tests in this run" in err and "/nowhere/p.jsonl" in err
    assert lines(folder)[-1]["step"] == 12 and (folder / "checkpoints" / "step_00000012" / "manifest.json").exists()

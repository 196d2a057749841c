"""HumanEval infilling is OpenAI's row for row; gaps of all kinds are filled by their references."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.infilling import KINDS, NUM_SPANS, Gap, load_gaps, programs, random_spans
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.sandbox.executor import Executor

OPENAI = {
    "single-line": (1033, "b8fd535e01b1634abd3606d4aa83a4a69fbad2f7efe236b62abfa233a423430f"),
    "multi-line": (5815, "e70156f037fe55e67bee7e532745e3ffd3b48aef1fe375f48f71ccc2d92762a1"),
}
"""Of OpenAI's HumanEval-SingleLineInfilling.jsonl.gz and HumanEval-MultiLineInfilling.jsonl.gz: rows, and the SHA-256 of
`json.dumps(row, sort_keys=True) + "\\n"` of all rows, in order and with all of their keys."""

ROW = {
    "task_id": "t/1",
    "prompt": "import math\n\n\ndef double(x):\n    y = ",
    "suffix": "\n    return y\n",
    "canonical_solution": "2 * x",
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}


def written(path: Path, *rows: dict[str, Any]) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


@pytest.mark.parametrize("kind", OPENAI)
def test_humaneval_infilling_is_openais_in_every_row_and_field(kind: str) -> None:
    gaps = load_gaps(kind)
    assert (len(gaps), gaps.sha256) == OPENAI[kind]


def test_a_file_in_openais_format(tmp_path: Path) -> None:
    path = written(
        tmp_path / "spans.jsonl.gz",
        ROW,
        {**ROW, "task_id": "t/2", "prompt": "def double(x):\n    return 2 * x", "canonical_solution": "", "suffix": ""},
    )
    gaps = load_gaps(path)
    assert (gaps.name, len(gaps)) == ("spans.jsonl.gz", 2)
    assert next(iter(gaps)) == Gap(**ROW)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"suffix": None}, "line 1: the key 'suffix' is missing or not a string: a line has task_id, prompt, suffix"),
        ({"canonical_solution": 3}, "the key 'canonical_solution' is missing or not a string"),
        ({"canonical_solution": "2 *"}, "prompt, canonical_solution and suffix together are not Python: invalid syntax"),
        ({"entry_point": "a b"}, "entry_point 'a b' is not the name of a function"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(CodeparrotError) as error:
        load_gaps(written(tmp_path / "bad.jsonl", {**ROW, **row}))
    assert words in str(error.value)


def test_an_unknown_kind_is_named_with_the_nearest() -> None:
    with pytest.raises(CodeparrotError, match=r"there are no gaps 'singleline'; did you mean \"single-line\"\?"):
        load_gaps("singleline")


def test_random_spans_are_the_same_in_every_run_and_lie_anywhere() -> None:
    problems = {problem.task_id: problem for problem in load_problems("humaneval")}
    gaps = load_gaps("random-span")
    # Another digest is another benchmark: scores of before do not compare.
    assert gaps.sha256 == "efd4eba4eaa6be590bbe66fdc882b4e375a83876aa051d0cda7493d27d0e2546"
    assert len(gaps) == NUM_SPANS * 164
    places = []
    for gap in gaps:
        problem = problems[gap.task_id.removeprefix("RandomSpan/").rpartition("/")[0]]
        assert gap.whole == problem.prompt + problem.canonical_solution and gap.canonical_solution.strip()
        begin, length = len(gap.prompt) - len(problem.prompt), len(problem.canonical_solution)
        places.append((begin / length, (begin + len(gap.canonical_solution)) / length))
    # Two uniform places in order have the means 1/3 and 2/3, with a deviation of 0.24 each.
    for mean, expected in zip(map(sum, zip(*places, strict=True)), (1 / 3, 2 / 3), strict=True):
        assert abs(mean / len(places) - expected) < 0.03


def test_every_span_of_a_short_text_is_drawn_about_equally_often() -> None:
    drawn = Counter(
        gap.canonical_solution
        for number in range(2000)
        for gap in random_spans(Problem(str(number), "def f():\n    return ", "f", "", "abc"), 1)
    )
    assert drawn.keys() == {"a", "b", "c", "ab", "bc", "abc"}
    assert max(drawn.values()) < 1.4 * min(drawn.values())
    every = list(random_spans(Problem("t", "def f():\n    return ", "f", "", "abc"), 10))
    assert sorted(gap.canonical_solution for gap in every) == ["a", "ab", "abc", "b", "bc", "c"]


def test_gaps_of_one_program_share_the_problem_that_the_sandbox_judges() -> None:
    gaps = [gap for gap in load_gaps("single-line") if "HumanEval/32/" in gap.task_id]
    found = programs(gaps)
    # OpenAI's first prompt has an empty line more.
    assert len(gaps) > 4 and len({id(problem) for problem in found.values()}) == 2
    for gap in gaps:
        problem = found[gap.task_id]
        assert problem.prompt + problem.canonical_solution == gap.whole and gap.prompt.startswith(problem.prompt)
        assert "def poly" in problem.prompt, "the test calls it"
        assert "def find_zero" not in problem.prompt, "the function with the gap is the candidate's alone"


def test_the_reference_middles_of_our_own_gaps_pass(executor: Executor) -> None:
    gaps = load_gaps("own")
    assert len(gaps) == 20
    judged = programs(gaps)
    jobs = [(judged[gap.task_id], judged[gap.task_id].canonical_solution) for gap in gaps]
    assert all(verdict.passed and not verdict.weak for _, verdict in executor.judge(jobs))
    # Without the middle, none passes: each gap is needed.
    empty = [(judged[gap.task_id], gap.filled("")[len(judged[gap.task_id].prompt) :]) for gap in gaps]
    assert [index for index, verdict in executor.judge(empty) if verdict.passed] == []


def test_middles_that_are_nearly_right_do_not_fill_our_own_gaps(executor: Executor) -> None:
    wrong = [
        ("infilling/3", "items"),
        ("infilling/6", "        squares.append(number)\n"),
        ("infilling/7", "number > numbers[0]"),
        ("infilling/7", "number != best"),
        ("infilling/8", "        counts[word] = text.count(word)\n"),
        ("infilling/11", "        return first // second\n    except ZeroDivisionError:\n"),
        ("infilling/14", "number % 2"),
        ("infilling/19", "    if wanted in items:\n        found = len(items) - 1\n"),
        ("infilling/19", "    if wanted in items:\n        found = items.index(wanted)\n"),
    ]
    gaps = {gap.task_id: gap for gap in load_gaps("own")}
    judged = programs(gaps.values())
    jobs = [(judged[name], gaps[name].filled(middle)[len(judged[name].prompt) :]) for name, middle in wrong]
    assert [wrong[index] for index, verdict in executor.judge(jobs) if verdict.passed] == []


def test_kinds_are_named_alike() -> None:
    assert {load_gaps(kind).name for kind in KINDS} == {f"infilling-{kind}" for kind in KINDS}

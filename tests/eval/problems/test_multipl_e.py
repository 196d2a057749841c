"""MultiPL-E's format, and the project's own problems in it: reference solutions pass, likely mistakes do not."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd

from codeparrot.cli import main
from codeparrot.corpus.contamination.benchmark_texts import read_benchmark
from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import Problem, Translated
from codeparrot.eval.problems.sets import from_row, load_problems
from codeparrot.eval.sandbox.executor import Executor
from codeparrot.eval.sandbox.toolchains import language
from tests.hub_server.fixture import HubServer

ROW = {
    "name": "HumanEval_53_add",
    "language": "js",
    "prompt": "//Add two numbers\nfunction add(x, y){\n",
    "doctests": "transform",
    "original": "/home/somebody/datasets/HumanEval_53_add.py",
    "prompt_terminology": "reworded",
    "tests": "const assert = require('node:assert');\n\n\nfunction test() {\n  let candidate = add;\n"
    "  assert.deepEqual(candidate(0, 1),1);\n}\n\ntest();",
    "stop_tokens": ["\nfunction ", "\n/*", "\n//", "\nconsole.log"],
}
WRONG: dict[str, list[str]] = json.loads(Path(__file__).with_name("wrong.json").read_text(encoding="utf-8"))
"""Completions that a model may well write, by problem."""


def test_a_row_becomes_a_problem_in_its_language() -> None:
    problem = from_row(ROW, "here")
    assert isinstance(problem, Translated)
    assert (problem.task_id, problem.language, problem.entry_point) == ("HumanEval_53_add", "javascript", "add")
    assert problem.stop == tuple(ROW["stop_tokens"]) and problem.test == ROW["tests"] and not problem.canonical_solution
    assert not problem.together


@pytest.mark.parametrize(
    ("name", "prompt", "tests", "entry_point", "together"),
    [
        (
            "cpp",
            "long f(long x) {\n",
            "}\nint main() {\n    auto candidate = f;\n    assert(candidate((1)) == (1));\n}\n",
            "f",
            False,
        ),
        ("cpp", "std::any f(long x) {\n", "}\nint main() {\n    auto candidate = f;\n}\n", "f", True),
        ("cpp", "long f(std::string_view x) {\n", "}\nint main() {\n    auto candidate = f;\n}\n", "f", True),
        (
            "cpp",
            "long f(long x) {\n",
            "}\nint main() {\n    auto candidate = f;\n    try { candidate(1); } catch (std::exception&) {}\n}\n",
            "f",
            True,
        ),
        ("rs", "fn f(x: isize) -> isize {\n", "}\n\nfn main() {\n    let candidate = f;\n}\n", "f", True),
        ("go_test.go", "func f(x int) int {\n", "func TestF(t *testing.T) {\n  candidate := f\n}\n", "f", True),
        ("java", "class Problem {\n    public static long f(long x) {\n", "    }\n    assert(f((1l)) == (1l));\n", "f", True),
    ],
)
def test_the_way_follows_from_the_language_and_the_types(
    name: str, prompt: str, tests: str, entry_point: str, together: bool
) -> None:
    problem = from_row({**ROW, "language": name, "prompt": prompt, "tests": tests}, "here")
    assert isinstance(problem, Translated)
    assert (problem.entry_point, problem.together) == (entry_point, together)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": None}, "'prompt' is not a string|the key 'prompt' is missing"),
        ({"stop_tokens": ["x", 3]}, "'stop_tokens' is not a list of strings"),
        ({"tests": "let x = 1;"}, "the tests check nothing"),
        ({"language": "lua"}, "problems of MultiPL-E in Lua cannot be judged; those in JavaScript, "),
        ({"language": "klingon"}, "problems of MultiPL-E in klingon cannot be judged"),
    ],
)
def test_a_row_that_is_no_problem_is_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CodeparrotError, match=f"^line 7: ({said})"):
        from_row({name: value for name, value in {**ROW, **change}.items() if value is not None}, "line 7")


def test_sets_in_python_are_what_they_were() -> None:
    problems = load_problems("codeparrot")
    assert all(type(problem) is Problem for problem in problems)
    assert problems.sha256 == "656ccbd9bfaf96b1ea60163cf103f8bc59ed0a0627a5a662cd0b9cbc5000d104"


@pytest.mark.parametrize(("name", "lang"), [("codeparrot-javascript", "javascript"), ("codeparrot-cpp", "c++")])
def test_own_problems_are_named_and_have_wrong_solutions(name: str, lang: str) -> None:
    problems = load_problems(name)
    assert [problem.task_id for problem in problems] == [f"{name}/{number}" for number in range(20)]
    assert len({problem.entry_point for problem in problems}) == 20
    for problem in problems:
        assert isinstance(problem, Translated) and problem.language == lang and not problem.together
        assert problem.canonical_solution and problem.prompt.count("//") >= 1 and problem.test.count("candidate(") >= 3
        assert WRONG[problem.task_id]
    found = {sample.task_id: sample for sample in read_benchmark("codeparrot")}
    assert all(found[problem.task_id].solution == problem.canonical_solution for problem in problems)
    assert all(len(found[problem.task_id].documentation) > 40 for problem in problems)


@pytest.fixture(scope="module", params=["codeparrot-javascript", "codeparrot-cpp"])
def pool(request: pytest.FixtureRequest) -> Iterator[tuple[str, Executor]]:
    problems = load_problems(request.param)
    try:
        with Executor(num_workers=2, languages={"javascript" if request.param.endswith("script") else "c++"}) as executor:
            yield problems.name, executor
    except CodeparrotError as error:
        # Continuous integration installs node, g++ and bubblewrap: a skip there would hide that nothing was tested.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


@pytest.mark.slow
def test_reference_solutions_pass_and_wrong_and_empty_ones_do_not(pool: tuple[str, Executor]) -> None:
    name, executor = pool
    problems = load_problems(name)
    end = "}\n" if name == "codeparrot-javascript" else ""
    right = [(problem, problem.canonical_solution) for problem in problems]
    jobs = right + [(problem, text) for problem in problems for text in (end, *WRONG[problem.task_id])]
    verdicts = dict(executor.judge(jobs))
    passed = [jobs[index] for index in range(len(jobs)) if verdicts[index].passed]
    assert passed == right
    assert not any(verdict.weak for verdict in verdicts.values())


@pytest.mark.slow
def test_a_command_scores_by_language_and_compare_pairs_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("javascript", "c++"):
        try:
            language(name).find()
        except CodeparrotError as error:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    own = [problem for name in ("codeparrot-javascript", "codeparrot-cpp") for problem in load_problems(name).first(2)]
    rows = []
    for problem in own:
        assert isinstance(problem, Translated)
        rows.append({"name": problem.task_id, "language": problem.language, "prompt": problem.prompt, "tests": problem.test})
    problems, solved = tmp_path / "both.jsonl", tmp_path / "solved.jsonl"
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    half = [
        {"task_id": each.task_id, "completion": each.canonical_solution if "cpp" in each.task_id else "}\n"} for each in own
    ]
    solved.write_text("".join(json.dumps(row) + "\n" for row in half), encoding="utf-8")
    command = ["eval", "humaneval", "--problems", str(problems), "--samples_file", str(solved), "--k", "1", "--json"]
    assert main([*command, "--output", str(tmp_path / "a")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pass@1"] == 0.5 and report["weak_problems"] == 0
    found = report["by_language"]
    assert {name: (each["problems"], each["pass@1"]["mean"]) for name, each in found.items()} == {
        "c++": (2, 1.0),
        "javascript": (2, 0.0),
    }
    assert found["javascript"]["toolchain"].startswith("node v") and "g++" in found["c++"]["toolchain"]
    assert "| c++ | 2 |" in (tmp_path / "a" / "report.md").read_text(encoding="utf-8")
    assert main(["eval", "compare", str(tmp_path / "a"), str(tmp_path / "a"), "--k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"][0]["difference"]["mean"] == 0.0


CARD = """---
configs:
- config_name: humaneval-js
  data_files: [{split: test, path: humaneval-js/test-*}]
- config_name: humaneval-cpp
  data_files: [{split: test, path: humaneval-cpp/test-*}]
---
"""


def test_one_of_the_sets_of_a_repository_is_named_behind_a_colon(here: HubServer) -> None:
    api = here.api()
    api.create_repo("nuprl/MultiPL-E", repo_type="dataset")
    added = [CommitOperationAdd("README.md", CARD.encode())]
    for name in ("js", "cpp"):
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([{**ROW, "name": f"{name}_0", "language": name}]), file)
        added.append(CommitOperationAdd(f"humaneval-{name}/test-00000-of-00001.parquet", file.getvalue()))
    api.create_commit("nuprl/MultiPL-E", added, commit_message="data", repo_type="dataset")
    problems = load_problems("hub:nuprl/MultiPL-E:humaneval-js")
    assert [problem.task_id for problem in problems] == ["js_0"]
    assert problems.source == "hub:nuprl/MultiPL-E:humaneval-js"
    assert [problem.task_id for problem in load_problems("hub:nuprl/MultiPL-E@main:humaneval-cpp")] == ["cpp_0"]
    with pytest.raises(CodeparrotError, match=r"has no readable problems: .*humaneval-lua.*not found"):
        load_problems("hub:nuprl/MultiPL-E:humaneval-lua")

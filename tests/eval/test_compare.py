"""Evaluations are compared if their problems are the same; other differences are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval.compare import compare


def result_folder(folder: Path, sha256: str = "a", **settings: Any) -> str:
    folder.mkdir()
    row = {"task_id": "a", "temperature": 0.2, "passed": True}
    (folder / "results.jsonl").write_text(json.dumps(row) + "\n")
    report = {"problem_set": {"name": folder.name, "source": "here", "sha256": sha256}, "settings": settings}
    (folder / "report.json").write_text(json.dumps(report))
    return str(folder)


def test_evaluations_of_other_tests_are_not_compared(tmp_path: Path) -> None:
    first, second = result_folder(tmp_path / "first"), result_folder(tmp_path / "second", "b")
    with pytest.raises(CodeparrotError, match=r"different problems with the same names: first \(here\) and second"):
        compare([first, second], k=[1])
    with pytest.raises(CodeparrotError, match="different problems with the same names"):
        compare([first, f"{second}/results.jsonl"], k=[1])
    (tmp_path / "second" / "report.json").unlink()
    assert "1 problems" in compare([first, second], k=[1]).text


def test_a_comparison_names_what_differs_beside_the_models(tmp_path: Path) -> None:
    first = result_folder(tmp_path / "first", chat=True, strip_prompt=False)
    second = result_folder(tmp_path / "second", chat=False, strip_prompt=False)
    text = compare([first, second], k=[1]).text
    assert "chat True and False" in text and "prompt" not in text
    first = result_folder(tmp_path / "third", precision="auto", top_p=0.95, max_new_tokens=256)
    second = result_folder(tmp_path / "fourth", precision="bf16", top_p=0.95, max_new_tokens=512)
    text = compare([first, second], k=[1]).text
    assert "max_new_tokens 256 and 512" in text and "top_p" not in text and "precision" not in text


OLD, OLD_STRIPPED = {"strip_prompt": False, "chat": False}, {"strip_prompt": True, "chat": False}
"""Settings of evaluations of earlier versions, which had no styles."""


@pytest.mark.parametrize(
    ("settings", "others", "words"),
    [
        ({"prompt_style": "healed"}, {"prompt_style": "codeparrot"}, "healed and codeparrot"),
        ({"prompt_style": "healed"}, OLD, "healed and exact"),
        (OLD_STRIPPED, {"prompt_style": "exact"}, "stripped and exact"),
        (OLD_STRIPPED, OLD, "stripped and exact"),
    ],
)
def test_styles_of_prompts_are_compared_only_on_request(tmp_path: Path, settings: Any, others: Any, words: str) -> None:
    both = [result_folder(tmp_path / name, **each) for name, each in (("first", settings), ("second", others))]
    with pytest.raises(CodeparrotError, match=f"styles of prompts: {words}; .* --anyway") as error:
        compare(both, k=[1])
    assert "\n" not in str(error.value)
    assert f"sampled differently: prompt_style {words}" in compare(both, k=[1], anyway=True).text


@pytest.mark.parametrize(
    ("settings", "others"), [({"prompt_style": "exact"}, OLD), ({"prompt_style": "stripped"}, OLD_STRIPPED)]
)
def test_a_style_is_known_by_its_older_name(tmp_path: Path, settings: Any, others: Any) -> None:
    both = [result_folder(tmp_path / name, **each) for name, each in (("first", settings), ("second", others), ("third", {}))]
    for pair in (both[:2], both[1:]):
        assert "sampled differently" not in compare(pair, k=[1]).text


def test_what_can_not_be_compared_is_one_line(tmp_path: Path) -> None:
    first = result_folder(tmp_path / "first")
    with pytest.raises(CodeparrotError, match="at least 1"):
        compare([first, first], k=[0])
    for row in ({"task_id": "a", "completion": "x"}, [], {"task_id": "a", "temperature": "x", "passed": True}):
        (tmp_path / "samples.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(CodeparrotError, match="line 1: not a result"):
            compare([first, str(tmp_path / "samples.jsonl")])


def test_an_evaluation_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "step_00001000").mkdir()
    with pytest.raises(CodeparrotError, match=r'there is no evaluation ".*step_00002000"; did you mean ".*step_00001000"\?'):
        compare([str(tmp_path / "step_00002000"), str(tmp_path / "step_00001000")])
    with pytest.raises(CodeparrotError, match=r"step_00001000 is not a finished evaluation: .* end it with the command"):
        compare([str(tmp_path / "step_00001000")] * 2)


def test_damaged_lines_among_results_are_passed_over_with_a_word(tmp_path: Path, caplog) -> None:
    first, second = result_folder(tmp_path / "first"), result_folder(tmp_path / "second")
    whole = compare([first, second], k=[1]).data["comparisons"]
    path = Path(second) / "results.jsonl"
    path.write_bytes(b"\0" * 64 + b"\n\n" + path.read_bytes().rstrip(b"\n"))
    assert compare([first, second], k=[1]).data["comparisons"] == whole
    (warning,) = caplog.messages
    assert f"{path}: passed over 2 lines" in warning


@pytest.mark.parametrize(
    "content", ["\0" * 64, "[" * 100_000, "[]", '{"problem_set": [1]}', '{"problem_set": {}, "settings": "x"}']
)
def test_a_damaged_report_is_named_since_nothing_says_what_was_evaluated(tmp_path: Path, content: str) -> None:
    first, second = result_folder(tmp_path / "first"), result_folder(tmp_path / "second", "b")
    (Path(second) / "report.json").write_text(content)
    found = compare([first, second], k=[1])
    assert f"{second}/report.json cannot be read" in found.text and found.data["comparisons"]


def test_gaps_of_one_function_count_as_one_draw(tmp_path: Path) -> None:
    """Ten gaps in each of four functions are not forty draws; nor does a group that is damaged, or of one alone, count."""

    def written(name: str, passed: int, grouped: bool = True) -> str:
        folder = Path(result_folder(tmp_path / name, fim_order=name[:3]))
        rows = [{"task_id": f"t/{i}", "temperature": 0.0, "passed": i // 10 < passed, "group": i // 10} for i in range(40)]
        rows = rows if grouped else [{**row, "group": "x"} for row in rows]
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder)

    first, second, ungrouped = written("psm", 4), written("spm", 0), written("spm-damaged", 0, grouped=False)
    result = compare([first, second], k=[1])
    # Four signs: all the same in 2 of 16 draws.
    assert result.data["comparisons"][0]["p_value"] == pytest.approx(2 / 16, abs=0.02)
    assert "fim_order psm and spm" in result.text
    assert compare([first, ungrouped], k=[1]).data["comparisons"][0]["p_value"] < 0.001


def test_measures_of_infilling_are_compared_where_nothing_passes(tmp_path: Path) -> None:
    """Means over the samples of a gap, then over the gaps; of other results, and of damaged ones, only pass@k."""

    def written(name: str, alike: float, **more: Any) -> str:
        folder = Path(result_folder(tmp_path / name))
        rows = [
            {
                "task_id": f"t/{i}",
                "temperature": 0.5,
                "passed": False,
                "exact_match": i < 2,
                "edit_similarity": alike + sample / 10,
            }
            for i in range(12)
            for sample in (0, 1)
        ]
        rows[0] |= more
        (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(folder)

    first, second, damaged = written("a", 0.5), written("b", 0.25), written("c", 0.5, edit_similarity="x")
    result = compare([first, second])
    passed, exact, alike = result.data["comparisons"]
    assert (passed["k"], passed["first"]) == (1, 0)
    assert (exact["measure"], exact["first"], exact["p_value"]) == ("exact_match", 2 / 12, 1)
    assert (alike["first"], alike["second"]) == (pytest.approx(0.55), pytest.approx(0.3)) and alike["p_value"] < 0.01
    assert "edit_similarity at temperature 0.5: 55.00% and 30.00%, difference +25.00 (+25.0 to +25.0), p 0.00" in result.text
    assert [each.get("measure") for each in compare([first, damaged]).data["comparisons"]] == [None, "exact_match"]

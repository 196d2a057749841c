"""Evaluations without unit tests, of search and of explanations, are compared measure by measure on the same tasks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval import statistics
from codeparrot.eval.compare import compare

COUNT = 40


def of_explanations(folder: Path, shift: float = 0.0, sha256: str = "a", count: int = COUNT) -> str:
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = [
        {"task_id": f"t{number}", "temperature": 0.0, "completion": "x", "chrf": chrf + shift, "rouge_l": overlap}
        for number, (chrf, overlap) in enumerate(draw.uniform(0, 0.5, (count, 2)).tolist())
    ]
    return written(folder, "results.jsonl", rows, sha256)


def of_search(folder: Path, factor: float = 1.0, sha256: str = "a", whitened: bool = True, **settings: Any) -> str:
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = []
    for search in ("description", "clone"):
        for number, rank in enumerate(draw.integers(1, 30, COUNT).tolist()):
            ranks = {"bm25": 2.0, "model": rank * factor, **({"model, whitened": rank + 1.5} if whitened else {})}
            rows.append({"search": search, "task_id": f"t{number}", "ranks": ranks})
    return written(folder, "ranks.jsonl", rows, sha256, **settings)


def written(folder: Path, name: str, rows: list[dict[str, Any]], sha256: str, **settings: Any) -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    described = {"name": "pairs", "source": folder.name, "sha256": sha256}
    (folder / "report.json").write_text(json.dumps({"problem_set": described, "settings": settings}))
    return str(folder)


def test_explanations_are_paired_by_function(tmp_path: Path) -> None:
    first, second = of_explanations(tmp_path / "first", 0.1), of_explanations(tmp_path / "second")
    result = compare([first, second])
    chrf, overlap = result.data["comparisons"]
    assert result.data["problems"] == COUNT and (chrf["measure"], overlap["measure"]) == ("chrf", "rouge_l")
    assert chrf["difference"]["mean"] == pytest.approx(0.1) and chrf["p_value"] < 0.001
    assert overlap["difference"]["mean"] == 0 and overlap["p_value"] == 1
    assert f"{COUNT} functions; first: {first}" in result.text and "ROUGE-L: 0." in result.text
    assert compare([f"{first}/results.jsonl", f"{second}/report.json"]).data["comparisons"] == result.data["comparisons"]


def test_searches_are_paired_by_query_for_each_search_system_and_measure(tmp_path: Path) -> None:
    first, second = of_search(tmp_path / "first"), of_search(tmp_path / "second", 2)
    result = compare([first, second])
    found = {(each["search"], each["system"], each["measure"]): each for each in result.data["comparisons"]}
    assert len(found) == 2 * 2 * 3 and not any(system == "bm25" for _, system, _ in found), "BM25 is no model"
    rows = [json.loads(line) for line in Path(first, "ranks.jsonl").read_text().splitlines()]
    ranks = np.array([row["ranks"]["model"] for row in rows if row["search"] == "clone"])
    expected = statistics.compare(1 / ranks, 1 / (2 * ranks))
    own = found["clone", "model", "mrr"]
    assert own["difference"] == pytest.approx(expected.difference._asdict(), rel=0.05)
    assert own["first"] == pytest.approx((1 / ranks).mean()) and own["p_value"] < 0.001
    assert found["clone", "model", "recall@10"]["first"] == (ranks <= 10).mean()
    assert found["clone", "model, whitened", "mrr"]["p_value"] == 1
    assert "MRR of clone by model: 0." in result.text
    assert compare([f"{first}/ranks.jsonl", f"{second}/report.json"]).data["comparisons"] == result.data["comparisons"]


def test_what_only_one_has_and_other_settings_are_named(tmp_path: Path) -> None:
    first = of_search(tmp_path / "first", pooling="last")
    second = of_search(tmp_path / "second", whitened=False, pooling="mean")
    result = compare([first, second])
    assert {each["system"] for each in result.data["comparisons"]} == {"model"}
    assert "only one of them has: MRR of clone by model, whitened; MRR of description by model, whitened; recall" in result.text
    assert "pooling last and mean" in result.text


@pytest.mark.parametrize("make", [of_search, of_explanations])
def test_other_functions_are_refused(make: Callable[..., str], tmp_path: Path) -> None:
    first, second = make(tmp_path / "first"), make(tmp_path / "second", sha256="b")
    with pytest.raises(CodeparrotError, match=r"different problems with the same names: pairs \(first\) and pairs \(second\)"):
        compare([first, second])


def test_more_functions_of_the_same_set_are_refused(tmp_path: Path) -> None:
    first, second = of_explanations(tmp_path / "first"), of_explanations(tmp_path / "second", count=COUNT - 1)
    with pytest.raises(CodeparrotError, match=r"of different problems \(1 are in only one of them\): compare the same ones"):
        compare([first, second])
    path = Path(of_search(tmp_path / "third"), "ranks.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(CodeparrotError, match=r"of different problems \(2 are in only one of them\)"):
        compare([of_search(tmp_path / "fourth"), str(tmp_path / "third")])


def test_two_kinds_and_damaged_files_are_one_line(tmp_path: Path) -> None:
    search, explanations = of_search(tmp_path / "search"), of_explanations(tmp_path / "explanations")
    with pytest.raises(CodeparrotError, match="one of the evaluations is of search, the other of explanations: compare"):
        compare([search, explanations])
    with pytest.raises(CodeparrotError, match=r'there is no evaluation ".*/searches"; did you mean ".*/search"'):
        compare([search, str(tmp_path / "searches")])
    for line in ("[]", "\0", '{"search": "clone", "task_id": "a", "ranks": {"model": 0}}', '{"search": 1}'):
        (tmp_path / "search" / "ranks.jsonl").write_text(f"{line}\n")
        with pytest.raises(CodeparrotError, match=r"ranks.jsonl,? .*1") as error:
            compare([search, search])
        assert "\n" not in str(error.value)


def test_searches_without_a_measure_in_common_are_refused(tmp_path: Path) -> None:
    first, second = of_search(tmp_path / "first"), of_search(tmp_path / "second")
    path = Path(second, "ranks.jsonl")
    path.write_text(path.read_text().replace("description", "words").replace("clone", "copy"))
    with pytest.raises(CodeparrotError, match="no measure in common"):
        compare([first, second])

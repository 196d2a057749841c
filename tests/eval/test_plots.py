"""Pictures of pass@k say zero in words and show each of several curves."""

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from codeparrot.eval.plots import draw_curves, draw_over_tokens


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the panels of the pictures that are saved."""
    saved: list[Any] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        saved.extend(self.axes)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def report(*curves: tuple[float, dict[int, float]]) -> dict[str, Any]:
    """A report that requested pass@1, whose interval is two hundredths wide."""
    lines = []
    for temperature, curve in curves:
        interval = {"low": max(0, curve[1] - 0.01), "high": curve[1] + 0.01}
        lines.append({"temperature": temperature, "curve": curve, "pass@1": interval})
    return {"by_temperature": lines, "best": {"pass@1": {}}, "problem_set": {"name": "starter"}, "problems": 7}


def names(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_nothing_passed_is_said_in_words(tmp_path, axes):
    draw_curves(report((0.2, {1: 0.0, 10: 0.0}), (0.8, {1: 0.0, 10: 0.0})), tmp_path / "a.png")
    assert [text.get_text() for text in axes[0].texts] == ["no sample passed"]
    assert list(axes[0].get_yticks()) == [0] and axes[0].get_ylim() == (0, 1)
    assert not axes[0].collections, "no interval"
    assert names(axes[0]) == ["temperature 0.2: 0", "temperature 0.8: 0"]


def test_zero_beside_other_values_is_named(tmp_path, axes):
    draw_curves(report((0.2, {1: 0.1, 10: 0.3}), (0.8, {1: 0.0, 10: 0.0})), tmp_path / "a.png")
    assert not axes[0].texts and names(axes[0]) == ["temperature 0.2", "temperature 0.8: 0"]
    assert axes[0].get_ylim()[1] > 30 and len(axes[0].collections) == 2


def test_temperatures_of_the_same_result_are_told_apart(tmp_path, axes):
    same = {1: 0.1, 10: 0.3}
    draw_curves(report((0.2, same), (0.8, same)), tmp_path / "a.png")
    first, second = axes[0].get_lines()
    assert first.get_linewidth() > 2 * second.get_linewidth()
    assert axes[0].collections[0].get_linewidth() > 2 * axes[0].collections[1].get_linewidth()


def test_a_single_k_has_its_mark(tmp_path, axes):
    draw_curves(report((0.2, {1: 0.1})), tmp_path / "a.png")
    assert [label.get_text() for label in axes[0].get_xticklabels()] == ["1"]


@pytest.mark.parametrize(("ten", "words"), [(0.0, ["no sample passed"]), (0.25, [])])
def test_pass_at_k_over_tokens(tmp_path: Path, axes: list[Any], ten: float, words: list[str]) -> None:
    rows = [{"step": step, "tokens": step * 1000, "problems": "starter", "pass@1": 0.0, "pass@10": ten} for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert draw_over_tokens(tmp_path, tmp_path / "plots" / "a.png")
    assert [text.get_text() for text in axes[0].texts] == words
    assert "2k" in [label.get_text() for label in axes[0].get_xticklabels()]
    assert names(axes[0])[0] == "starter during training, exact prompts, pass@1: 0", "earlier versions had no styles"


def test_infilling_has_its_measures_beside_pass_at_k(tmp_path: Path, axes: list[Any]) -> None:
    of = {"problems": "infilling-own", "fim_order": "psm"}
    rows = [{"step": 1, "tokens": 1000, "infilling_pass@1": 0.1, "infilling_edit_similarity": 0.4, **of}]
    rows += [{"step": 1, "tokens": 1000, "pass@1": 0.2, "problems": "starter", "prompt_style": "healed"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    interval = {"temperature": 0.0, "mean": 0.2, "low": 0.1, "high": 0.3}
    found = {"problems": 20, "samples": 20, "problem_set": {"name": "infilling-own"}, "pass@1": 0.2, "exact_match": 0.2}
    found |= {"best": {"pass@1": interval, "exact_match": interval}, "tokens": 1000, "settings": {"fim_order": "prefix"}}
    place = tmp_path / "eval" / "infilling-own" / "step_00000001"
    place.mkdir(parents=True)
    (place / "report.json").write_text(json.dumps(found))
    assert draw_over_tokens(tmp_path, tmp_path / "plots" / "a.png")
    assert names(axes[0]) == [
        "infilling-own during training, edit_similarity",
        "infilling-own during training, pass@1",
        "infilling-own, prefix, exact_match",
        "infilling-own, prefix, pass@1",
        "starter during training, pass@1",
    ]
    assert axes[0].get_ylabel() == "score, %"


def test_names_of_many_curves_cover_none_of_them(tmp_path: Path, axes: list[Any]) -> None:
    rows = [{"tokens": step, "step": step, "problems": f"set {of}", "pass@1": 0.1 * of} for of in range(9) for step in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert draw_over_tokens(tmp_path, tmp_path / "a.png")
    (axis,) = axes
    (legend,) = axis.figure.legends
    assert len(legend.get_texts()) == 9 and axis.get_legend() is None
    of_names, panel = legend.get_window_extent(), axis.get_window_extent()
    assert of_names.y0 >= 0 and of_names.y1 < axis.xaxis.label.get_window_extent().y0
    assert panel.height > 0.4 * panel.width


def test_styles_of_prompts_make_curves_of_their_own(tmp_path: Path, axes: list[Any]) -> None:
    rows = [{"step": step, "tokens": step, "problems": "starter", "pass@1": 0.1} for step in (1, 2, 3)]
    rows = [*rows[:2], {**rows[2], "prompt_style": "healed"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    best = {"pass@1": {"temperature": 0.2, "mean": 0.2, "low": 0.1, "high": 0.3}}
    found = {"problems": 21, "samples": 21, "problem_set": {"name": "own"}, "best": best, "pass@1": 0.2, "tokens": 3}
    for number, settings in enumerate(({"strip_prompt": True}, {"prompt_style": "healed"}, {"prompt_style": "codeparrot"})):
        place = tmp_path / "eval" / f"own{number}" / "step_00000003"
        place.mkdir(parents=True)
        (place / "report.json").write_text(json.dumps({**found, "settings": settings}))
    assert draw_over_tokens(tmp_path, tmp_path / "plots" / "a.png")
    kinds = {name.removesuffix(", pass@1") for name in names(axes[0])}
    training = {"starter during training, exact prompts", "starter during training"}
    assert kinds == {*training, "own, stripped prompts", "own", "own, codeparrot prompts"}

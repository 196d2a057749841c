"""Further validation sets have a panel of their own."""

from typing import Any

from codeparrot.plot import plot
from tests.test_plot import falling, log


def test_further_validation_sets_have_a_panel_with_a_line_each(tmp_path, monkeypatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr("codeparrot.figures.save", lambda figure, place: figures.append(figure))

    def measured(step: int, name: str, value: float, sample: bool) -> dict[str, Any]:
        return {"step": step, "tokens": step * 4096, "set": name, "set_bits_per_byte": value, "set_sample": sample}

    rows = [measured(step, name, 3 - step / 200, step < 300) for step in range(0, 301, 50) for name in ("go", "tests")]
    plot([str(log(tmp_path / "a", *falling(), *rows))], str(tmp_path / "one.png"))
    plot([str(tmp_path / "a"), str(log(tmp_path / "b", *falling()))], str(tmp_path / "two.png"), log_x=True)
    one, two = (figure.axes for figure in figures)
    assert len(one) == len(two) == 3 and one[2].get_ylabel() == "further sets, bits/byte"
    lines = {line.get_label(): line for line in one[2].get_lines() if not str(line.get_label()).startswith("_")}
    assert list(lines) == ["go", "tests"]
    assert list(lines["go"].get_ydata()) == [3 - step / 200 for step in range(0, 300, 50)]
    assert [text.get_text() for text in two[2].get_legend().get_texts()] == ["a: go", "a: tests"]
    assert two[2].get_lines()[0].get_xdata()[0] > 0


def test_the_picture_of_one_run_has_a_line_for_each_of_its_largest_languages(tmp_path, monkeypatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr("codeparrot.figures.save", lambda figure, place: figures.append(figure))
    names = [f"l{number}" for number in range(9)]

    def measured(step: int) -> dict[str, Any]:
        found = {name: {"loss": 3.0, "bits_per_byte": 3 - step / 200, "tokens": 5} for name in names}
        return {"step": step, "tokens": step * 4096, "eval_languages": found, "eval_sample": step < 300}

    rows = [measured(step) for step in range(0, 301, 50)]
    plot([str(log(tmp_path / "a", *falling(), *rows))], str(tmp_path / "one.png"), log_x=True)
    plot([str(tmp_path / "a"), str(log(tmp_path / "b", *falling()))], str(tmp_path / "two.png"))
    one, two = (figure.axes for figure in figures)
    assert (len(one), len(two)) == (3, 2) and one[2].get_ylabel() == "by language, bits/byte"
    assert [text.get_text() for text in one[2].get_legend().get_texts()] == names[:6]

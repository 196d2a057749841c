"""`codeparrot tree` and `codeparrot plot` know who began at whose checkpoint."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from matplotlib import image
from matplotlib.figure import Figure

from codeparrot import figures as house
from codeparrot.errors import CodeparrotError
from codeparrot.plot import plot
from codeparrot.run.curves import Curve
from codeparrot.runs.branches import Branch, branches, on_parents
from codeparrot.runs.tree import tree
from tests.runs.family import write_family, write_run


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects the figures that are saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args, **options) -> None:
        saved.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def drawn(line: Any) -> Curve:
    return Curve(list(line.get_xdata()), list(line.get_ydata()))


def test_the_family_is_drawn_with_what_each_leaf_reached(tmp_path: Path, figures: list[Figure]) -> None:
    write_family(tmp_path)
    result = tree(str(tmp_path))
    heads = ["a ", "|-- cool-100 ", "|   `-- cooler ", "`-- cool-200 ", "other "]
    lines = result.text.splitlines()[:-1]
    assert len(lines) == 5 and all(line.startswith(head) for line, head in zip(lines, heads, strict=True))
    assert "from step 100: 1.5k tokens, loss " in result.text and "1.250 bits/byte, pass@1 25.0%" in result.text
    assert max(map(len, result.text.splitlines()[:-1])) <= 120
    assert image.imread(tmp_path / "tree.png").shape[1] == 1200
    assert {run["name"]: run["parent_here"] for run in result.data["runs"]} == {
        **{"a": None, "cool-100": "a", "cooler": "cool-100", "cool-200": "a", "other": None}
    }
    legend = figures[0].axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0] == "a" and texts[3].startswith("cool-200: loss ") and texts[3].endswith("1.250 bits/byte")


def test_a_run_shows_its_family_and_nobody_elses(tmp_path: Path) -> None:
    write_family(tmp_path / "runs")
    result = tree(str(tmp_path / "runs" / "cooler"), str(tmp_path / "x.svg"))
    assert {run["name"] for run in result.data["runs"]} == {"a", "cool-100", "cool-200", "cooler"}
    assert (tmp_path / "x.svg").is_file()
    shutil.rmtree(tmp_path / "runs" / "a")
    result = tree(str(tmp_path / "runs" / "cooler"), str(tmp_path / "x.svg"))
    assert result.text.splitlines()[0].startswith("cool-100") and "from step 100" in result.text.splitlines()[0]


def test_what_no_training_writes_is_no_family(tmp_path: Path) -> None:
    write_run(tmp_path / "a", range(10, 30, 10), parent=(tmp_path / "b", 10))
    write_run(tmp_path / "b", range(10, 30, 10), parent=(tmp_path / "a", 10))
    write_run(tmp_path / "self", range(10, 30, 10), parent=(tmp_path / "self", 10))
    (tmp_path / "notes").mkdir()
    (tmp_path / "new" / "checkpoints").mkdir(parents=True)  # what a run makes first
    (tmp_path / "new" / "config.yaml").write_text("{}")
    assert {run["name"] for run in tree(str(tmp_path)).data["runs"]} == {"a", "b", "self", "new"}


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_family(tmp_path / "runs")
    with pytest.raises(CodeparrotError, match="no known picture format"):
        tree(str(tmp_path / "runs"), str(tmp_path / "x.txt"))
    (tmp_path / "file").touch()
    with pytest.raises(CodeparrotError, match=r'--output ".*x.png" cannot be written'):
        tree(str(tmp_path / "runs"), str(tmp_path / "file" / "x.png"))


def test_the_curve_of_a_child_begins_on_that_of_its_parent(tmp_path: Path, figures: list[Figure]) -> None:
    family = write_family(tmp_path)
    plot([str(run) for run in (family[1], family[0], family[3])], str(tmp_path / "x.png"))
    lines = {line.get_label(): line for line in figures[0].axes[0].get_lines() if not str(line.get_label()).startswith("_")}
    parent, child, grandchild = (drawn(lines[name]) for name in ("a", "cool-100", "cooler"))
    assert (child.tokens[0], grandchild.tokens[0]) == (1000, 1500)
    assert child.values[0] == parent.values[parent.tokens.index(1000)]
    assert grandchild.values[0] == child.values[child.tokens.index(1500)]
    assert child.tokens[1:] == [1100, 1200, 1300, 1400, 1500], "none of its own values is lost"


def test_folders_that_were_moved_together_are_still_relatives(tmp_path: Path) -> None:
    from codeparrot.run.curves import read

    write_family(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    folders = [tmp_path / "after" / name for name in ("cool-100", "a", "other")]
    assert branches(list(map(read, folders)), folders) == [Branch(1, 1000), None, None]


def test_a_child_is_smoothed_with_what_its_parent_logged_before() -> None:
    noise = [3 + 0.5 * (-1) ** step for step in range(400)]
    parent, child = Curve([*map(float, range(400))], noise), Curve([*map(float, range(200, 400))], noise[200:])
    (_, alone), (_, joined) = on_parents([parent, child], [None, None], house.smooth)[1], (None, None)
    (_, whole), (_, joined) = on_parents([parent, child], [None, Branch(0, 199.0)], house.smooth)
    assert abs(alone.values[0] - 3) == pytest.approx(0.5), "its first value alone is a value, not a mean"
    assert joined.values[0] == whole.values[199] and all(abs(value - 3) < 0.1 for value in joined.values)
    assert len(joined.values) == 201


def test_a_curve_whose_parent_has_none_yet_begins_by_itself() -> None:
    child = Curve([5.0, 6.0], [1.0, 2.0])
    for parent in (Curve([], []), Curve([9.0], [1.0]), Curve([1.0], [math.nan])):
        assert on_parents([parent, child], [None, Branch(0, 4.0)])[1] == (child, child)


def test_axes_may_be_logarithmic(tmp_path: Path, figures: list[Figure]) -> None:
    run = write_family(tmp_path)[0]
    log = run / "metrics.jsonl"
    log.write_text(json.dumps({"step": 0, "tokens": 0, "perplexity": 500.0}) + "\n" + log.read_text())
    plot([str(run)], str(tmp_path / "x.png"), log_x=True, log_y=True)
    plot([str(run)], str(tmp_path / "x.png"), log_y=True)
    both, one = (figure.axes for figure in figures)
    assert [axis.get_xscale() for axis in both] == ["log", "log"] and [axis.get_xscale() for axis in one] == [
        "linear",
        "linear",
    ]
    assert [axis.get_yscale() for axis in one] == ["log", "log"]
    low, high = both[0].get_xlim()
    assert 0 < low <= 100 and high >= 3000
    assert both[0].get_ylim()[0] > 0
    log.write_text(log.read_text().splitlines()[0] + "\n")
    with pytest.raises(CodeparrotError, match="nothing was measured after the first step yet"):
        plot([str(run)], str(tmp_path / "x.png"), log_x=True)

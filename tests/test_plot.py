"""A picture shows what was logged, however little, and exists only when it is complete."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from codeparrot.errors import CodeparrotError
from codeparrot.figures import smooth
from codeparrot.plot import draw, plot
from codeparrot.run.curves import read


def log(folder: Path, *rows: dict[str, Any], end: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + end)
    return folder


def falling(num_steps: int = 300, every: int = 50, tokens: int = 4096) -> list[dict[str, Any]]:
    losses = {step: 3 + 5 / (1 + step / 20) for step in range(num_steps + 1)}
    rows: list[dict[str, Any]] = [{"step": step, "tokens": step * tokens, "loss": losses[step]} for step in losses if step]
    evaluated = range(0, num_steps + 1, every)
    return rows + [{"step": step, "tokens": step * tokens, "perplexity": math.exp(losses[step])} for step in evaluated]


def sampled(every: int = 50) -> list[dict[str, Any]]:
    """A run whose evaluations measured a sample, but for the last one."""
    rows = falling(every=every)
    for row in rows:
        if "perplexity" in row:
            row["eval_sample"] = row["step"] < 300
            row["perplexity"] *= 1.0 if row["eval_sample"] else 1.3
    return rows


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """Collects the figures that are saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        saved.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def notes(axis: Any) -> list[str]:
    """Return what a panel says of values that it does not show."""
    return [text.get_text() for text in axis.texts if text.xy == (1, 1) and text.get_text()]


def colours(path: Path) -> int:
    """Return how many pixels are coloured; only curves are."""
    pixels = image.imread(path)[..., :3]
    return int((np.ptp(pixels, axis=-1) > 0.3).sum())


def test_pseudo_perplexity_is_drawn_and_called_so(tmp_path, figures):
    rows = [{name.replace("perplexity", "pseudo_perplexity"): value for name, value in row.items()} for row in falling()]
    result = plot([str(log(tmp_path / "masked", *rows)), str(log(tmp_path / "causal", *falling()))])
    assert figures[0].axes[1].get_ylabel() == "validation perplexity, pseudo-perplexity"
    masked, causal = result.data["runs"]
    assert masked["pseudo_perplexity"] == causal["perplexity"] and "perplexity" not in masked
    assert "pseudo-perplexity" in result.text.splitlines()[0] + result.text


def test_how_likely_solutions_are_has_a_panel_of_its_own(tmp_path, figures):
    rows = [row | {"solution_bits_per_byte": 2 - row["step"] / 300} for row in falling() if "perplexity" in row]
    result = plot([str(log(tmp_path / "nano", *rows))])
    assert result.data["runs"][0]["solution_bits_per_byte"] == 1 and "solutions 1 bits/byte" in result.text
    axis = figures[0].axes[-1]
    (curve,) = axis.get_lines()
    assert axis.get_ylabel() == "solutions, bits/byte" and list(curve.get_ydata())[:2] == [2, 2 - 50 / 300]
    plot([str(log(tmp_path / "older", *falling()))])
    assert [axis.get_ylabel() for axis in figures[1].axes] == ["training loss", "validation perplexity"]


def test_solutions_of_other_problems_are_not_drawn_as_one_curve(tmp_path, figures):
    name, rows = "solution_bits_per_byte", [row for row in falling() if "perplexity" in row]
    # The measurement of the run was changed from one set to another on the way.
    changed = [row | {name: 2 if row["step"] < 150 else 1, "problems": "a" if row["step"] < 150 else "b"} for row in rows]
    plot([str(log(tmp_path / "changed", *changed))])
    axis = figures[0].axes[-1]
    assert axis.get_ylabel() == "b solutions, bits/byte" and set(axis.get_lines()[0].get_ydata()) == {1}
    others = [row | {name: 2, "problems": "a"} for row in rows]
    plot([str(tmp_path / "changed"), str(log(tmp_path / "other", *others))], str(tmp_path / "both.png"))
    axis = figures[1].axes[-1]
    assert axis.get_ylabel() == "solutions, bits/byte"
    assert [text.get_text() for text in axis.texts if text.xy == (0, 1)] == ["of a and b, which do not compare"]


def test_the_measure_of_the_whole_set_is_a_mark_of_its_own(tmp_path, figures):
    run = log(tmp_path / "nano", *sampled())
    read_back = read(run)
    assert len(read_back.perplexity.values) == 6 and read_back.at_the_end.tokens == [300 * 4096]
    result = plot([str(run)])
    assert result.data["runs"][0]["perplexity"] == read_back.at_the_end.values[0]
    curve, mark = figures[0].axes[1].get_lines()
    assert len(curve.get_xdata()) == 6 and mark.get_linestyle() == "None" and list(mark.get_xdata()) == [300 * 4096]
    low, high = figures[0].axes[1].get_ylim()
    assert low < read_back.at_the_end.values[0] < high
    assert read(log(tmp_path / "older", *falling())).at_the_end.tokens == []


def test_evaluations_of_the_whole_set_before_a_sample_belong_to_the_curve(tmp_path):
    """A run of an earlier version that goes on, and a run that was finished and is made longer."""
    older = [{"step": step, "tokens": step, "loss": 1.0, "perplexity": 200.0} for step in (0, 10)]
    newer = [{"step": step, "tokens": step, "perplexity": 50.0, "eval_sample": True} for step in (20, 30)]
    run = log(tmp_path / "longer", *older, *newer)
    assert read(run).perplexity.values == [200.0, 200.0, 50.0, 50.0] and read(run).at_the_end.values == []
    assert plot([str(run)]).data["runs"][0]["perplexity"] == 50.0


def test_a_run_is_drawn_into_its_plots(tmp_path, figures):
    run = log(tmp_path / "nano", *falling())
    result = plot([str(run)])
    picture = run / "plots" / "loss.png"
    assert result.data["output"] == str(picture) and image.imread(picture).shape[:2] == (900, 1200)
    assert colours(picture) > 3000
    assert result.data["runs"][0]["tokens"] == 300 * 4096
    assert result.data["runs"][0]["loss"] == pytest.approx(3.31, abs=0.01)
    assert result.data["runs"][0]["perplexity"] == pytest.approx(math.exp(3 + 5 / 16))
    loss, perplexity = figures[0].axes
    assert perplexity.get_yscale() == "log" and loss.get_yscale() == "linear"
    assert loss.get_xlim() == perplexity.get_xlim() and perplexity.get_xlabel() == "training tokens"
    assert loss.get_title(loc="left") == "nano" and loss.get_legend() is None
    assert "400k" in [label.get_text() for label in perplexity.get_xticklabels()]
    assert {"20", "500", "2,000"} <= {label.get_text() for label in perplexity.get_yticklabels()}
    low, high = loss.get_ylim()
    losses = read(run).loss.values
    later = losses[149] - losses[-1]
    assert low < losses[-1] and 2.4 * later < high - low < 4 * later, "the second half has about a third of the panel"
    assert notes(loss) == ["values up to 7.762 lie above"] and notes(perplexity) == []


def test_several_runs_are_told_apart(tmp_path, figures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [log(tmp_path / name, *falling(tokens=tokens)) for name, tokens in (("a/x", 10), ("b/x", 20), ("long" * 30, 30))]
    result = plot([str(run) for run in runs])
    assert result.data["output"] == "loss.png" and (tmp_path / "loss.png").is_file()
    legend = figures[0].axes[0].get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(set(texts)) == 3 and max(map(len, texts)) < 50
    lines = [line.get_color() for line in legend.get_lines()]
    assert len(set(lines)) == 3


def test_more_runs_than_colours_differ_in_their_lines(tmp_path, figures):
    draw([log(tmp_path / f"run{index}", *falling(20, 10)) for index in range(20)], tmp_path / "x.svg")
    styles = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[1].get_lines()}
    assert len(styles) == 20 and (tmp_path / "x.svg").read_text().startswith("<?xml")


def test_a_perplexity_that_is_older_than_the_loss_says_so(tmp_path):
    rows = [{"step": 0, "tokens": 0, "perplexity": 6000.0}, {"step": 60, "tokens": 123_000, "loss": 6.0}]
    assert plot([str(log(tmp_path / "run", *rows))]).text.endswith("perplexity 6,000 at 0 tokens")
    rows.append({"step": 60, "tokens": 123_000, "perplexity": 600.0})
    assert plot([str(log(tmp_path / "run", *rows))]).text.endswith("perplexity 600")


def test_a_single_point_is_seen(tmp_path):
    run = log(tmp_path / "run", {"step": 1, "tokens": 1024, "loss": 9.1})
    draw([run], tmp_path / "loss.png")
    one = colours(tmp_path / "loss.png")
    log(run, {"step": 1, "tokens": 1024, "loss": 9.1}, {"step": 1, "tokens": 1024, "perplexity": 9000.0})
    draw([run], tmp_path / "loss.png")
    assert one > 50 and colours(tmp_path / "loss.png") > 1.5 * one


@pytest.mark.parametrize(("key", "label"), [("loss", "training loss"), ("perplexity", "validation perplexity")])
def test_only_what_was_logged_has_a_panel(tmp_path, figures, key, label):
    draw([log(tmp_path / "run", *[row for row in falling() if key in row])], tmp_path / "loss.png")
    assert [axis.get_ylabel() for axis in figures[0].axes] == [label]


def test_a_line_that_is_being_written_or_was_cut_is_left_out(tmp_path):
    run = log(tmp_path / "run", *falling(10, 5), end='{"step": 11, "tok{"step": 11}\n[1]\n\n{"step": 12, "tokens": 12, "lo')
    assert read(run) == read(log(tmp_path / "again" / "run", *falling(10, 5)))


def test_a_loss_that_is_not_finite_is_a_gap(tmp_path):
    rows = [{"step": step, "tokens": step, "loss": None if step in (4, 5) else float(step)} for step in range(1, 11)]
    run = read(log(tmp_path / "run", *rows, {"step": 10, "tokens": 10, "perplexity": math.inf}))
    assert [math.isnan(value) for value in run.loss.values].count(True) == 2 and math.isnan(run.perplexity.values[0])
    draw([tmp_path / "run"], tmp_path / "loss.png")


def test_the_steep_start_and_spikes_of_a_long_run_leave_the_panel(tmp_path, figures):
    rows = [{"step": step, "tokens": step, "loss": 1 + 9 * math.exp(-step / 10) + 50 * (step == 3000)} for step in range(6000)]
    rows += [{"step": step, "tokens": step, "perplexity": math.exp(1 + 9 * (step == 0))} for step in range(0, 6000, 100)]
    draw([log(tmp_path / "run", *rows)], tmp_path / "loss.png")
    loss, perplexity = figures[0].axes
    assert loss.get_ylim()[1] < 2 and perplexity.get_ylim()[1] < 10


def test_a_run_that_diverges_is_shown_up_to_there(tmp_path, figures):
    rows = falling(1000, 100)
    for row in rows:
        beyond = max(0, row["step"] - 700)
        if "loss" in row:
            row["loss"] = row["loss"] + 1.1**beyond - 1 if beyond <= 200 else None
        else:
            row["perplexity"] = row["perplexity"] * 10.0**beyond if beyond <= 200 else None
    run = log(tmp_path / "run", *rows)
    result = plot([str(run)])
    assert "not finite from 3.69M tokens on" in result.text and result.data["runs"][0]["not_finite_from"] == 901 * 4096
    assert "perplexity 2.24e+201" in result.text
    for axis in figures[0].axes:
        low, high = axis.get_ylim()
        first, last = (value if axis is figures[0].axes[0] else math.log(value) for value in (low, high))
        assert first < 3.2 and 8 < last < 12.5, "what went before is seen"
        assert len([text for text in axis.texts if text.get_text()]) == 1, "no number stands where its curve is not"
        (note,) = notes(axis)
        assert note.startswith("values up to ") and note.endswith(" lie above; not finite at the end")
        assert all(bool(np.all(np.asarray(line.get_ydata()) != 0)) for line in axis.get_lines())


def test_a_run_without_a_finite_loss_says_so(tmp_path, figures):
    rows = [{"step": step, "tokens": step, "loss": None} for step in (1, 2)]
    draw([log(tmp_path / "run", {"step": 0, "tokens": 0, "perplexity": 6000.0}, *rows)], tmp_path / "loss.png")
    (axis,) = figures[0].axes
    assert notes(axis) == ["no training loss was finite"]


def test_before_the_first_step_the_axis_has_no_fractions_of_tokens(tmp_path, figures):
    draw([log(tmp_path / "run", {"step": 0, "tokens": 0, "perplexity": 6000.0})], tmp_path / "loss.png")
    assert [tick for tick in figures[0].axes[0].get_xticks() if tick % 1] == []


def test_a_perplexity_that_none_can_be_is_no_error(tmp_path, figures):
    rows = [{"step": step, "tokens": step, "perplexity": value} for step, value in ((1, 90.0), (2, 0.0), (3, 80.0))]
    assert "perplexity 80" in plot([str(log(tmp_path / "run", *rows))]).text


def test_a_spike_leaves_the_average_of_other_steps_alone(tmp_path, figures):
    rows = [{"step": step, "tokens": step, "loss": 2.0 + 1e30 * (step == 300)} for step in range(1, 1001)]
    draw([log(tmp_path / "run", *rows)], tmp_path / "loss.png")
    curve = np.asarray(figures[0].axes[0].get_lines()[1].get_ydata())
    assert curve[:250] == pytest.approx(2.0) and curve[350:] == pytest.approx(2.0)
    assert smooth([2.0] * 300 + [1e30] + [2.0] * 700)[400:] == [2.0] * 601, "not what rounding leaves of 1e30"
    assert notes(figures[0].axes[0]) == ["values up to 1e+30 lie above"]


def test_two_points_and_points_between_gaps_are_marked(tmp_path, figures):
    draw([log(tmp_path / "two", *[{"step": step, "tokens": step, "loss": 9.0 - step} for step in (1, 2)])], tmp_path / "2.png")
    (line,) = figures[0].axes[0].get_lines()
    assert line.get_marker() == "o" and line.get_markevery() is None and list(line.get_ydata()) == [8.0, 7.0]
    rows = [{"step": step, "tokens": step, "loss": None if step in (49, 51) else 5.0} for step in range(1, 100)]
    draw([log(tmp_path / "gaps", *rows)], tmp_path / "3.png")
    line = figures[1].axes[0].get_lines()[1]
    assert line.get_marker() == "o" and line.get_markevery() == [49]


def test_steps_that_a_resume_repeated_count_once(tmp_path):
    before, after = falling(300), falling(400)
    for row in after:
        row.update({"loss": row["loss"] + 1} if "loss" in row else {"perplexity": 2.0})
    repeated = log(tmp_path / "run", *before, *[row for row in after if row["step"] > 200])
    run = read(repeated)
    assert run.loss.tokens == [step * 4096 for step in range(1, 401)]
    assert run.loss.values[199] < 4 < run.loss.values[200]
    assert run.perplexity.tokens == [step * 4096 for step in range(0, 401, 50)] and run.perplexity.values[-4:] == [2.0] * 4


def test_runs_that_coincide_are_told_apart(tmp_path, figures):
    runs = [log(tmp_path / name, *falling()) for name in ("first", "again")]
    other = log(
        tmp_path / "other", *[row | {key: 2 * row[key] for key in ("loss", "perplexity") if key in row} for row in falling()]
    )
    draw([*runs, other], tmp_path / "loss.png")
    for axis in figures[0].axes:
        first, again, apart = (line.get_linewidth() for line in axis.get_lines()[-3:])
        assert first > 2 * again and again == apart
    low, high = figures[0].axes[0].get_ylim()
    assert low < 3.4 and high > 6.7


def test_the_whole_set_and_its_sample_are_named(tmp_path, figures):
    draw([log(tmp_path / "nano", *sampled())], tmp_path / "loss.png")
    legend = figures[0].axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["on a sample", "on all of the validation set"]


@pytest.mark.parametrize("rows", [[], [{"step": 1, "tokens": 8, "lr": 0.1}], [{"step": 1, "tokens": 8, "loss": None}]])
def test_a_run_without_metrics_is_named(tmp_path, rows):
    run = log(tmp_path / "run", *rows)
    with pytest.raises(CodeparrotError, match=r"run.* has logged no loss yet"):
        plot([str(run)])
    assert not (run / "plots").exists()


def test_what_is_no_run_or_no_picture_is_named(tmp_path):
    run = log(tmp_path / "run", *falling(10, 5))
    (tmp_path / "other").mkdir()
    for runs, output, message in (
        ([f"{run}n"], None, 'did you mean ".*run"'),
        ([str(tmp_path / "other")], None, "is not a run: metrics.jsonl cannot be read"),
        (["nobody"], None, 'no run "nobody" here'),
        ([], None, "no run to draw"),
        ([str(run)], str(tmp_path / "loss.bmp"), r"end its name in \.png, \.svg, \.pdf"),
        ([str(run)], str(run / "metrics.jsonl" / "loss.png"), "cannot be written"),
    ):
        with pytest.raises(CodeparrotError, match=message):
            plot(runs, output)


def test_a_picture_is_replaced_only_by_a_complete_one(tmp_path, monkeypatch):
    run = log(tmp_path / "run", *falling(10, 5))
    draw([run], tmp_path / "out" / "loss.png")
    before = (tmp_path / "out" / "loss.png").read_bytes()

    def full_disk(self: Figure, path: Path, **options: Any) -> None:
        Path(path).write_bytes(before[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        draw([run], tmp_path / "out" / "loss.png")
    assert (tmp_path / "out" / "loss.png").read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["loss.png"]


def test_lines_that_no_run_wrote_end_no_picture(tmp_path, caplog):
    run = log(tmp_path / "run", *falling(10, 5))
    whole = read(run)
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    foreign = [
        b"\0" * 64 + b"\n",
        b"\n",
        b'{"step": 3, "tokens": "x"}\n',
        b'{"step": 3, "tokens": 3, "loss": "low"}\n',
        b"\xff\n",
    ]
    path.write_bytes(b"".join([*lines[:3], *foreign, *lines[3:], b'{"step": 4, "tokens": null, "loss": 1}\n']))
    assert read(run) == whole
    (warning,) = caplog.messages
    assert "passed over 5 lines" in warning

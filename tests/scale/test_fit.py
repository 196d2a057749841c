"""A fit finds the law that losses were made with, and says how sure it is of it."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from codeparrot.cli import main
from codeparrot.errors import CodeparrotError
from codeparrot.scale import fit as fitting
from codeparrot.scale.fit import Points, fit, power_law
from codeparrot.scale.law import Law
from tests.launching import ROOT

PLANTED = Law(E=1.7, A=400.0, B=1200.0, alpha=0.34, beta=0.29)
CHINCHILLA = Path(os.environ.get("CODEPARROT_TEST_DATA", ROOT / ".." / "shared" / "data")) / "chinchilla-points.csv"


def runs(law: Law = PLANTED, noise: float = 0.0, sizes: int = 6, lengths: int = 5) -> Points:
    """Runs of so many sizes, with so many lengths each."""
    parameters, ratios = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e5, 1e8, sizes), np.geomspace(4, 300, lengths)))
    tokens = parameters * ratios
    losses = law.loss(parameters, tokens) * np.exp(noise * np.random.default_rng(0).standard_normal(parameters.size))
    return Points(parameters, tokens, losses)


@pytest.mark.parametrize("law", [PLANTED, Law(0.8, 20.0, 300.0, 0.2, 0.4), Law(2.5, 3000.0, 80.0, 0.5, 0.18)])
def test_without_noise_the_planted_law_is_found(law: Law) -> None:
    found = fit(runs(law), draws=0).law
    assert found == pytest.approx(law, rel=0.02)


def test_with_noise_the_truth_lies_in_the_intervals() -> None:
    fitted = fit(runs(noise=0.002, sizes=8, lengths=8), draws=200)
    for name in Law._fields:
        low, high = fitted.interval(lambda law, name=name: getattr(law, name))
        assert low < getattr(PLANTED, name) < high, name


def test_the_same_runs_and_seed_give_the_same_intervals() -> None:
    first, second = (fit(runs(noise=0.01), draws=3, seed=5) for _ in range(2))
    assert first.law == second.law and first.draws == second.draws
    assert fit(runs(noise=0.01), draws=3, seed=6).draws != first.draws


def test_the_gradient_is_that_of_the_loss() -> None:
    points = runs(noise=0.01)
    theta = np.array([5.0, 6.0, 0.4, 0.3, 0.3])
    _, gradient = fitting._losses(theta[None], points)
    steps = 1e-6 * np.eye(5)
    numeric = (fitting._losses(theta + steps, points)[0] - fitting._losses(theta - steps, points)[0]) / 2e-6
    assert gradient[0] == pytest.approx(numeric, rel=1e-5)


def test_the_optimum_has_the_least_loss_of_its_computation() -> None:
    parameters, tokens = PLANTED.optimum(1e20)
    assert 6 * parameters * tokens == pytest.approx(1e20)
    best = PLANTED.loss(parameters, tokens)
    assert all(PLANTED.loss(parameters * times, tokens / times) > best for times in (0.9, 1.1))


def test_the_published_points_have_the_published_law() -> None:
    """Besiroglu et al. (2024), table 1: each figure within its standard error."""
    if not CHINCHILLA.is_file():
        pytest.skip(f"the points are not there: {CHINCHILLA}")
    with CHINCHILLA.open(encoding="utf-8") as file:
        rows = np.array([[float(row[name]) for name in ("parameters", "flops", "loss")] for row in csv.DictReader(file)])
    parameters, tokens = rows[:, 0], rows[:, 1] / 6 / rows[:, 0]
    kept = np.argsort(tokens / parameters)[5:]  # as they do
    found = fit(Points(parameters, tokens, rows[:, 2]).take(kept), draws=0).law
    published = {
        "E": (1.817, 0.026),
        "A": (482.0, 124.5),
        "B": (2085.4, 1293.2),
        "alpha": (0.348, 0.015),
        "beta": (0.366, 0.021),
    }
    for name, (value, error) in published.items():
        assert abs(getattr(found, name) - value) < error, name


def test_a_power_law_is_that_of_the_runs_that_none_smaller_beats() -> None:
    x = np.array([1e3, 1e4, 1e4, 1e5, 3e5, 1e6])
    losses = (1e8 / x) ** 0.1
    losses[[2, 4]] *= 1.5
    found = power_law(x, losses)
    assert found is not None
    assert (found.scale, found.exponent) == (pytest.approx(1e8, rel=1e-3), pytest.approx(0.1, rel=1e-4))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (runs().take(slice(0, 5)), "5 runs are too few, give 6 or more"),
        (runs().take(runs().parameters == 1e5), "are too few"),
        (runs().take(np.isin(np.arange(30) % 6, [0, 1])), "fewer than three different numbers of parameters"),
    ],
)
def test_runs_that_say_too_little_are_refused(points: Points, message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        fit(points)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A law of runs in a table, as the command writes it."""
    place = tmp_path_factory.mktemp("scale")
    points = runs(noise=0.002)
    rows = zip(points.parameters, points.tokens, points.losses, strict=True)
    lines = ["parameters,tokens,loss", *(",".join(map(str, map(float, row))) for row in rows)]
    (place / "points.csv").write_text("\n".join(lines), encoding="utf-8")
    assert main(["scale", "fit", str(place / "points.csv"), "--output", str(place), "--draws", "20"]) == 0
    return place


def test_a_fit_writes_its_law_and_pictures(folder: Path) -> None:
    facts = json.loads((folder / "law.json").read_text(encoding="utf-8"))
    assert {path.name for path in folder.iterdir()} == {"points.csv", "law.json", "fit.png", "isoflop.png", "frontier.png"}
    assert facts["runs"] == 30 and facts["mean_error"] < 0.003 and len(facts["draws"]) == 20
    assert facts["held_out"]["runs"] == 5 and abs(facts["held_out"]["worst_error"]) < 0.02
    assert set(facts["power_laws"]) == {"parameters", "tokens", "flops"}
    assert all(row["tokens_per_parameter"] == row["tokens"] / row["parameters"] for row in facts["frontier"])


def test_a_power_law_that_the_runs_do_not_tell_is_left_out(tmp_path: Path, capsys) -> None:
    """Larger models had fewer tokens: none is better than all smaller ones."""
    rows = [(1e6, 1e10), (1e6, 1e8), (2e6, 3e9), (2e6, 5e7), (4e6, 2e7), (4e6, 1e7), (4e6, 4e7)]
    lines = [f"{size},{tokens},{float(PLANTED.loss(size, tokens))}" for size, tokens in rows]
    (tmp_path / "points.csv").write_text("\n".join(["parameters,tokens,loss", *lines]), encoding="utf-8")
    assert main(["scale", "fit", str(tmp_path / "points.csv"), "--output", str(tmp_path), "--draws", "2"]) == 0
    facts = json.loads((tmp_path / "law.json").read_text(encoding="utf-8"))
    assert "parameters" not in facts["power_laws"] and "tokens" in facts["power_laws"]
    assert "over parameters alone" not in capsys.readouterr().out


def test_a_prediction_has_an_interval_and_says_how_far_a_held_out_run_was_off(folder: Path, capsys) -> None:
    assert main(["scale", "predict", "--law", str(folder), "--parameters", "4e8", "--tokens", "8e9"]) == 0
    text = capsys.readouterr().out
    truth = float(PLANTED.loss(4e8, 8e9))
    assert float(re.findall(r"loss ([\d.]+) nats", text)[0]) == pytest.approx(truth, rel=0.01)
    assert "4 times the parameters of the largest run" in text
    assert "held out: the largest size (5 runs, 3.98 times the next); a law of the others is" in text
    assert main(["scale", "predict", "--law", str(folder / "law.json"), "--flops", "1e17", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["low"] <= facts["loss"] <= facts["high"] and facts["flops"] == pytest.approx(1e17)


def test_far_beyond_the_runs_nothing_is_predicted_unasked(folder: Path, capsys) -> None:
    far = ["scale", "predict", "--law", str(folder), "--parameters", "1e10", "--tokens", "1e11"]
    assert main(far) == 1
    assert "333 times the flops of the largest run" in capsys.readouterr().err
    assert main([*far, "--anyway", "true"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parameters", "1e6"], "give either --parameters and --tokens, or --flops"),
        (["--parameters", "1e6", "--tokens", "1e7", "--flops", "1e15"], "give either"),
        ([], "give either"),
        (["--flops", "1e15", "--law", "nowhere"], "there is no law in nowhere"),
    ],
)
def test_a_prediction_of_nothing_is_refused(arguments: list[str], message: str, folder: Path, capsys) -> None:
    law = [] if "--law" in arguments else ["--law", str(folder)]
    assert main(["scale", "predict", *law, *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts: facts.pop("draws"),
        lambda facts: facts.update(draws=[]),
        lambda facts: facts.update(draws=[[1, 2, 3]]),
        lambda facts: facts.update(law={"E": 1}),
        lambda facts: facts["law"].update(alpha="a"),
        lambda facts: facts["law"].update(alpha=-0.3),
        lambda facts: facts.update(largest={}),
        lambda facts: facts.update(held_out={"runs": 1}),
        lambda facts: facts.clear(),
    ],
    ids="no_draws empty_draws short_draw other_law words_for_numbers no_optimum no_largest held_out empty".split(),
)
@pytest.mark.parametrize("asked", [["--flops", "1e15"], ["--parameters", "1e6", "--tokens", "1e7"]], ids=["flops", "size"])
def test_a_law_that_no_fit_wrote_is_one_line(spoil, asked, folder: Path, tmp_path: Path, capsys) -> None:
    facts = json.loads((folder / "law.json").read_text(encoding="utf-8"))
    spoil(facts)
    (tmp_path / "law.json").write_text(json.dumps(facts), encoding="utf-8")
    assert main(["scale", "predict", "--law", str(tmp_path), *asked]) == 1
    assert f"{tmp_path / 'law.json'} is no law that `codeparrot scale fit` wrote" in capsys.readouterr().err


def test_a_law_says_which_parameters_it_counts_and_an_older_one_counted_all(folder: Path, tmp_path: Path, capsys) -> None:
    facts = json.loads((folder / "law.json").read_text(encoding="utf-8"))
    asked = ["scale", "predict", "--law", str(tmp_path / "law.json"), "--parameters", "1e6", "--tokens", "1e7"]
    assert facts["counted"] == "total"
    for counted, words in ((None, "with embeddings"), ("non_embedding", "without embeddings")):
        facts["counted"] = counted
        (tmp_path / "law.json").write_text(json.dumps(facts), encoding="utf-8")
        assert main(asked) == 0
        assert f"1M parameters {words}, 10M tokens" in capsys.readouterr().out


def test_runs_whose_loss_does_not_fall_have_no_law() -> None:
    points = runs(sizes=3, lengths=3)
    with pytest.raises(CodeparrotError, match="does not fall with parameters"):
        fit(Points(points.parameters, points.tokens, points.losses[0] * (points.parameters / 1e5) ** 0.05))


def test_a_law_without_an_optimum_has_none_and_leaves_no_gap_in_an_interval() -> None:
    rising = Law(1.7, 400.0, 1200.0, -0.1, 0.3)
    assert all(np.isnan(rising.optimum(1e18)))
    fitted = fitting.Fit(PLANTED, [PLANTED, rising, PLANTED], runs())
    assert fitted.interval(lambda law: law.optimum(1e18)[0]) == (PLANTED.optimum(1e18)[0],) * 2


def test_embeddings_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    import yaml

    from codeparrot.scale.points import read

    model = {"family": "gpt2", "vocab_size": 512, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "tokens": 70, "eval_loss": 2.5}\n', encoding="utf-8")
    recipe = {
        "model": model,
        "stream": {"train": "x", "valid": "x"},
        "tokenizer": {"path": "x"},
        "train": {"global_batch_size": 8},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"is not finished \(it has no status\.json\)"):
        read([tmp_path])
    (tmp_path / "status.json").write_text("not JSON", encoding="utf-8")
    with pytest.raises(CodeparrotError, match=r"its status\.json is damaged"):
        read([tmp_path])
    (tmp_path / "status.json").write_text('{"state": "finished"}', encoding="utf-8")
    (total,), (others,) = read([tmp_path]), read([tmp_path], "non_embedding")
    assert total.parameters - others.parameters == (512 + 32) * 32
    assert (total.tokens, total.loss) == (70, 2.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters,loss\n1,2\n", "has no column tokens"),
        ("a,b\n", "has no column loss and parameters and tokens: it needs"),
        ("parameters,tokens,loss\n1,2,x\n", "line 2: a value is no number"),
        ("parameters,tokens,loss\n1,2,3\n1,0,3\n", "line 3: parameters, tokens and loss must be above zero"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_its_line(text: str, message: str, tmp_path: Path, capsys) -> None:
    (tmp_path / "points.csv").write_text(text, encoding="utf-8")
    assert main(["scale", "fit", str(tmp_path / "points.csv")]) == 1
    assert f"{tmp_path / 'points.csv'}" in (said := capsys.readouterr().err) and message in said


def test_a_term_of_any_exponent_is_nothing_or_all() -> None:
    """Draws of few runs have such exponents, and a prediction takes the losses of all draws."""
    steep = Law(1.0, float(np.exp(700)), 10.0, 375.0, 0.5)
    assert steep.loss(1e6, 1e4) == pytest.approx(1.1)
    assert steep._replace(alpha=-375.0).loss(1e6, 1e4) == np.inf

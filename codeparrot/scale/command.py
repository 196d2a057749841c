"""`codeparrot scale fit` and `scale predict`: how the loss falls with size and data, from runs that were made."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from codeparrot import files
from codeparrot.errors import CodeparrotError, writing
from codeparrot.figures import count_in_words
from codeparrot.location import path_of
from codeparrot.result import Result, say
from codeparrot.scale.law import FLOPS_PER_TOKEN_AND_PARAMETER, Law

if TYPE_CHECKING:
    from codeparrot.scale.fit import Fit
    from codeparrot.scale.points import Point

FURTHEST = 30.0
"""Times the largest run, in parameters, tokens or FLOPs, to which a law is extrapolated unasked."""
LAW = "law.json"
COUNTED = {"total": "with embeddings", "non_embedding": "without embeddings"}
"""Counts of parameters, in words."""
DECADES = 4
"""Powers of ten of FLOPs that the table of the frontier goes beyond the smallest budget of the runs."""
HELD_OUT_SIZES = 4
"""Fewer different sizes leave none to hold out."""


def fit(
    runs: list[str],
    output: str = "scale",
    parameters: Literal["total", "non_embedding"] = "total",
    least_tokens_per_parameter: float = 0.0,
    draws: int = 1000,
    seed: int = 0,
) -> Result:
    """Fit how the loss falls with parameters and tokens: L(N, D) = E + A / N^alpha + B / D^beta.

    Writes law.json, and pictures of the fit, of runs of equal compute (isoFLOP), and of the compute-optimal frontier.

    Args:
        runs: Folders of finished runs, or tables (.csv) with the columns parameters, loss (nats a token), and tokens or flops.
        output: Folder for law.json and the pictures.
        parameters: Count of the parameters of a run. total: all, as Hoffmann et al.; non_embedding: without those of tokens and
            positions, as Kaplan et al. Tables are taken as they are.
        least_tokens_per_parameter: Runs with fewer are left out.
        draws: Bootstrap resamples of the runs, for the 95% intervals.
        seed: Of the draws.
    """
    from codeparrot.scale import figure, points
    from codeparrot.scale.fit import fit as fit_law

    if not runs:
        raise CodeparrotError("nothing to fit to: name folders of finished runs, or tables with parameters, tokens and loss")
    if draws < 1:
        raise CodeparrotError(f"--draws {draws} is out of range: at least 1")
    folder = path_of(output)
    found = points.read([path_of(name) for name in runs], parameters)
    kept = [point for point in found if point.tokens / point.parameters >= least_tokens_per_parameter]
    if not kept:
        raise CodeparrotError(
            f"no run has {least_tokens_per_parameter:g} tokens a parameter; lower --least_tokens_per_parameter"
        )
    with writing(folder, "--output"):
        folder.mkdir(parents=True, exist_ok=True)
    say(f"fitting {len(kept)} runs, and {draws} draws of them")
    fitted = fit_law(points.as_points(kept), draws, seed)
    facts = {"counted": parameters, **_facts(fitted, len(found) - len(kept), _held_out(kept))}
    with writing(folder, "--output"):
        files.write_json(folder / LAW, facts, indent=2)
    return Result("\n".join([*_lines(facts), *map(str, [folder / LAW, *figure.draw(fitted, folder)])]), facts)


def predict(
    law: str = "scale", parameters: float = 0.0, tokens: float = 0.0, flops: float = 0.0, anyway: bool = False
) -> Result:
    """Predict the loss of a model, or the compute-optimal model for a FLOP budget, with a law that `scale fit` wrote.

    Args:
        law: Folder or law.json that `codeparrot scale fit` wrote.
        parameters: Of the model, counted as for the fit; with --tokens.
        tokens: That it is trained on.
        flops: Computation instead of both: the parameters and tokens with the lowest loss are found.
        anyway: Extrapolate further than 30 times beyond the largest run.
    """
    if bool(flops) == bool(parameters or tokens) or bool(parameters) != bool(tokens) or min(parameters, tokens, flops) < 0:
        raise CodeparrotError("give either --parameters and --tokens, or --flops, above zero")
    facts = _read(law)
    best, draws = Law(**facts["law"]), [Law(*draw) for draw in facts["draws"]]
    if flops:
        parameters, tokens = best.optimum(flops)
    beyond = {
        name: value / facts["largest"][name]
        for name, value in (
            ("parameters", parameters),
            ("tokens", tokens),
            ("flops", FLOPS_PER_TOKEN_AND_PARAMETER * parameters * tokens),
        )
    }
    name, times = max(beyond.items(), key=lambda item: item[1])
    if times > FURTHEST and not anyway:
        raise CodeparrotError(
            f"that is {times:,.0f} times the {name} of the largest run that the law was fitted to: no more than {FURTHEST:g} "
            "times can be trusted; add larger runs, or --anyway"
        )
    losses = sorted(float(draw.loss(parameters, tokens)) for draw in draws)
    low, high = (losses[min(len(losses) - 1, round(share * (len(losses) - 1)))] for share in (0.025, 0.975))
    data = {
        **{"parameters": parameters, "tokens": tokens, "flops": FLOPS_PER_TOKEN_AND_PARAMETER * parameters * tokens},
        **{"loss": float(best.loss(parameters, tokens)), "low": low, "high": high, "times_beyond": times},
        **{"counted": facts["counted"], "held_out": facts["held_out"]},
    }
    size = f"{count_in_words(parameters)} parameters {COUNTED[facts['counted']]}"
    length = f"{count_in_words(tokens)} tokens ({tokens / parameters:.3g} a parameter)"
    lines = [f"{size}, {length}: loss {data['loss']:.4f} nats a token (95% {low:.4f} to {high:.4f})"]
    lines += [f"that is {times:.3g} times the {name} of the largest run"] if times > 1 else []
    return Result("\n".join([*lines, *_said_of_held_out(facts["held_out"])]), data)


def _read(name: str) -> dict[str, Any]:
    """Return what a fit wrote: all that a prediction needs of it.

    Raises:
        CodeparrotError: there is no such file, or it holds something else.
    """
    place = path_of(name)
    place = place / LAW if place.is_dir() else place
    try:
        facts = files.read_object(place)
        laws = [Law(**facts["law"]), *(Law(*draw) for draw in facts["draws"])]
        largest = [facts["largest"][name] for name in ("parameters", "tokens", "flops")]
        if not all(math.isfinite(each) for law in laws for each in law) or len(laws) < 2 or min(*laws[0], *largest) <= 0:
            raise ValueError("a number is out of its range, or there are no draws")
        held_out = facts["held_out"]
        _said_of_held_out(held_out)
        counted = facts.get("counted", "total")
        return {"law": facts["law"], "draws": facts["draws"], "largest": facts["largest"], "held_out": held_out} | {
            "counted": counted if counted in COUNTED else "total"
        }
    except OSError as error:
        raise CodeparrotError(f"there is no law in {place} ({error.strerror}): `codeparrot scale fit` writes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CodeparrotError(f"{place} is no law that `codeparrot scale fit` wrote ({error})") from error


def _held_out(kept: "list[Point]") -> dict[str, Any] | None:
    """Fit without the runs of the largest size, and say how far off their losses are then."""
    from codeparrot.scale import points
    from codeparrot.scale.fit import LEAST_POINTS
    from codeparrot.scale.fit import fit as fit_law

    sizes = sorted({point.parameters for point in kept})
    smaller = [point for point in kept if point.parameters < sizes[-1]]
    if len(sizes) < HELD_OUT_SIZES or len(smaller) < LEAST_POINTS or len({point.tokens for point in smaller}) < 3:
        return None
    law = fit_law(points.as_points(smaller), draws=0).law
    largest = [point for point in kept if point.parameters == sizes[-1]]
    errors = [float(law.loss(point.parameters, point.tokens)) / point.loss - 1 for point in largest]
    worst = max(errors, key=abs)
    return {"parameters": sizes[-1], "times": sizes[-1] / sizes[-2], "runs": len(largest), "worst_error": worst}


def _said_of_held_out(held_out: dict[str, Any] | None) -> list[str]:
    if held_out is None:
        needed = "that needs four sizes, and six runs of three lengths without the largest"
        return [f"nothing was held out ({needed}), so the error of a prediction is unknown"]
    runs = "1 run" if held_out["runs"] == 1 else f"{held_out['runs']} runs"
    size = f"held out: the largest size ({runs}, {held_out['times']:.3g} times the next)"
    return [f"{size}; a law of the others is {held_out['worst_error']:+.1%} off there, at worst"]


def _facts(fitted: "Fit", left_out: int, held_out: dict[str, Any] | None) -> dict[str, Any]:
    import numpy as np

    from codeparrot.scale.fit import power_law

    points, law = fitted.points, fitted.law
    flops = FLOPS_PER_TOKEN_AND_PARAMETER * points.parameters * points.tokens
    first = math.floor(math.log10(flops.min()))
    frontier = [_best(fitted, 10.0**exponent) for exponent in range(first, first + DECADES + 1)]
    residuals = np.log(law.loss(points.parameters, points.tokens)) - np.log(points.losses)
    alone = {"parameters": points.parameters, "tokens": points.tokens, "flops": flops}
    return {
        "law": law._asdict(),
        "intervals": {name: fitted.interval(lambda each, name=name: getattr(each, name)) for name in Law._fields},
        "runs": len(points),
        "left_out": left_out,
        "mean_error": float(np.abs(residuals).mean()),
        "largest": {name: float(values.max()) for name, values in alone.items()},
        "power_laws": {
            name: fit._asdict() for name, values in alone.items() if (fit := power_law(values, points.losses)) is not None
        },
        "frontier": frontier,
        "held_out": held_out,
        "draws": [list(draw) for draw in fitted.draws],
    }


def _best(fitted: "Fit", flops: float) -> dict[str, Any]:
    parameters, tokens = fitted.law.optimum(flops)
    ratio: Callable[[Law], float] = lambda law: law.optimum(flops)[1] / law.optimum(flops)[0]  # noqa: E731
    return {
        **{"flops": flops, "parameters": parameters, "tokens": tokens, "loss": float(fitted.law.loss(parameters, tokens))},
        **{"tokens_per_parameter": tokens / parameters, "tokens_per_parameter_interval": fitted.interval(ratio)},
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    law, intervals = facts["law"], facts["intervals"]
    lines = [f"L(N, D) = {law['E']:.4g} + {law['A']:.4g} / N^{law['alpha']:.4g} + {law['B']:.4g} / D^{law['beta']:.4g}"]
    lines += [f"{name:<6}{law[name]:>10.4g}   95% {low:.4g} to {high:.4g}" for name, (low, high) in intervals.items()]
    left_out = f", {facts['left_out']} left out" if facts["left_out"] else ""
    lines.append(f"N counts parameters {COUNTED[facts['counted']]}, D tokens; L is in nats a token, on the validation set")
    lines.append(f"{facts['runs']} runs{left_out}; the law is {facts['mean_error']:.2%} off on average")
    lines += _said_of_held_out(facts["held_out"])
    lines.append("     FLOPs  parameters    tokens    loss  tokens a parameter (95%)")
    for row in facts["frontier"]:
        low, high = row["tokens_per_parameter_interval"]
        size = f"{row['flops']:>10.0e}  {count_in_words(row['parameters']):>10}  {count_in_words(row['tokens']):>8}"
        lines.append(f"{size}  {row['loss']:>6.3f}  {row['tokens_per_parameter']:.3g} ({low:.3g} to {high:.3g})")
    for name, each in facts["power_laws"].items():
        lines.append(f"lowest loss over {name} alone: ({each['scale']:.3g} / {name})^{each['exponent']:.4f}")
    return lines

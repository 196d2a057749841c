"""`codeparrot scale run`: a series of small runs from one recipe and one dial, for `codeparrot scale fit`.

Guarantees: the rule and the table of runs are printed before anything starts. Each run is an ordinary one: a file in
OUTPUT/configs, a directory in OUTPUT/runs, trained by the ordinary command and measured on the whole validation set at its end.
The same command goes on after an interruption: finished runs are kept, and a run that was made with other settings is refused.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot import files
from codeparrot.config import Config
from codeparrot.errors import CodeparrotError, writing
from codeparrot.figures import count_in_words
from codeparrot.location import path_of
from codeparrot.result import STOPPED, Result, say
from codeparrot.scale.state import begun, config_file, loss_of
from codeparrot.setting import ABOVE_0, Was, at_least, changeable, check_ranges, setting

if TYPE_CHECKING:
    from codeparrot.scale.rule import Rule, Run

OF_THE_DATA = ("tokenizer.path", "stream.train", "stream.valid")
"""What a single run may change, because it may have moved. In a series, other data would be compared with each other."""


@dataclass
class Series(Config):
    """A recipe, and the series that is made of it."""

    left_out = ("resume", "parent", "hub.branch", "run.dir", "schedule.decay_now")
    """Settings of a single run that the runs of a series have from the series. The help does not show them."""
    sizes: int = setting(4, "models", at_least(1))
    """Sizes of models, the recipe's own the largest. Each has about four times the parameters of the one before, besides
    embeddings."""
    lengths: int = setting(3, "lengths", at_least(1), was=Was("budgets", {}))
    """Lengths of the runs of each size, in tokens a parameter: the recipe's own the longest, each twice the one before."""
    depths: list[int] = field(default_factory=list, metadata={"rule": at_least(1)})
    """Depths in layers, in place of --sizes. They may be deeper than the recipe."""
    tokens_per_parameter: list[float] = field(default_factory=list, metadata={"rule": ABOVE_0})
    """Lengths of the runs in tokens a parameter, embeddings included, in place of --lengths: 5 10 20."""
    tokens: list[float] = field(default_factory=list, metadata={"rule": ABOVE_0})
    """Lengths of the runs in tokens, the same for every size, in place of --lengths: 1e9 2e9 4e9. Small models too are then
    trained long enough for a power law."""
    lr_exponent: float = setting(0.5, rule=at_least(0))
    """The learning rate goes with the width to the power of minus this: 0.5 as in nanochat, 1 as in muP, 0: constant."""
    batch_exponent: float = setting(0.0, rule=at_least(0))
    """The global batch goes with the tokens of a run to this power, and the learning rate with its root. 0: constant."""
    output: str = "scale"
    """Folder for configurations and runs."""
    workers: int = setting(1, "runs", at_least(1))
    """Runs that are trained side by side: each has its share of the cores, and one GPU. One small model seldom fills a GPU, and
    several threads help it little."""
    slurm: bool = False
    """Start nothing: write OUTPUT/array.sh, a job array for SLURM."""
    dry_run: bool = False
    """Print the rule and the runs, and write nothing."""


def check(settings: Series) -> None:
    """Check what can be known before anything is loaded.

    Raises:
        CodeparrotError: settings contradict each other.
    """
    from codeparrot import checks

    if settings.parent or settings.model.get("from"):
        what = "--from" if settings.parent else "model.from"
        raise CodeparrotError(f"each run of a series begins with weights of its own, at step 0; leave {what} out")
    checks.check(settings)
    check_ranges(settings)
    if not settings.stream.valid:
        raise CodeparrotError("stream.valid is empty: a law is fitted to losses on validation documents; name them")
    if settings.resume != "auto":
        raise CodeparrotError(
            f"resume is {settings.resume}: each run of a series begins anew and goes on by itself; leave it out"
        )
    if settings.tokens and settings.tokens_per_parameter:
        raise CodeparrotError("--tokens and --tokens_per_parameter are two ways to say how long runs are: give one of them")
    if settings.checkpoint.mirror:
        raise CodeparrotError("checkpoint.mirror is set: each run of a series would need one of its own; leave it out")
    if settings.hub.branch:
        raise CodeparrotError(
            "hub.branch is set: each run of a series has a branch of its own, called as the run; leave it out"
        )


def run(settings: Series) -> Result:
    """Make a series of small runs from a recipe: sizes times lengths, from one dial, the depth. Then `codeparrot scale fit`
    finds the law of their losses. The same command goes on with what is done.

    Raises:
        CodeparrotError: no series can be made of the recipe, a run was made with other settings, or a run fails.
    """
    from codeparrot.scale.rule import Rule, series

    say("deriving the runs")
    base = Config(**{each.name: getattr(settings, each.name) for each in fields(Config)})
    asked = (settings.sizes, settings.lengths, settings.depths, settings.tokens_per_parameter)
    rule = Rule.of(base, *asked, settings.lr_exponent, settings.batch_exponent, settings.tokens)
    runs, output = series(base, rule), path_of(settings.output)
    for each in runs:
        each.config.run.dir = str(output / "runs")
    table = "\n".join([*rule_in_words(base, rule), "", *table_of(runs)])
    facts = {"output": str(output), "runs": [facts_of(each, output) for each in runs]}
    if settings.dry_run:
        return Result(table, facts)
    say(table)
    with writing(output, "--output"):
        (output / "runs").mkdir(parents=True, exist_ok=True)
        with files.locked(output / ".lock") as ours:
            if not ours:
                raise CodeparrotError(
                    f"another `codeparrot scale run` is at work in {output}: wait for it, or name another --output"
                )
            write_configs(runs, output)
            return _array(runs, output, facts) if settings.slurm else _trained(runs, output, facts, settings.workers)


def _array(runs: "list[Run]", output: Path, facts: dict[str, Any]) -> Result:
    from codeparrot.scale.array import write

    script = write([config_file(each, output) for each in runs], output)
    text = f"""{script}: {len(runs)} jobs, one a run; nothing was started
next        sbatch --time 4:00:00 {script}      in the repository; partition, GPUs and the like as slurm/README.md says
then        codeparrot scale fit {output} --output {output}"""
    return Result(text, {**facts, "array": str(script)})


def _trained(runs: "list[Run]", output: Path, facts: dict[str, Any], workers: int) -> Result:
    from codeparrot.scale.running import Runner

    runner = Runner(runs, output, workers)
    stopped = runner.run()
    data = {**facts, "runs": [facts_of(each, output) for each in runs], "stopped": bool(stopped)}
    if stopped:
        return Result(f"stopped {stopped}; the same command goes on with what is done", data, STOPPED)
    lines = [*results_of(data["runs"]), "", f"next        codeparrot scale fit {output} --output {output}"]
    others = {path.name for path in (output / "runs").iterdir() if path.is_dir()} - {each.name for each in runs}
    if others:
        lines.append(f"{output}/runs also holds runs of other series, which `scale fit` reads too: {', '.join(sorted(others))}")
    return Result("\n".join(lines), data)


def write_configs(runs: "list[Run]", output: Path) -> None:
    """Write the configurations of all runs.

    Raises:
        CodeparrotError: a run has begun with other settings.
    """
    from codeparrot.arguments import load_config

    for each in runs:
        place = config_file(each, output)
        if place.is_file() and begun(each) and place.read_text(encoding="utf-8") != each.config.to_yaml():
            _refuse_changes(each, load_config(place))
    for each in runs:
        files.write_text(config_file(each, output), each.config.to_yaml())


def _refuse_changes(run: "Run", before: Config) -> None:
    own, others = _flat(run.config), _flat(before)
    free = {name for name in changeable(run.config) if name not in OF_THE_DATA}
    for name in own | others:
        if own.get(name) != others.get(name) and not any(name == each or name.startswith(f"{each}.") for each in free):
            raise CodeparrotError(
                f"{run.config.run_directory} was made with {name} {others.get(name)}, and is now to have {own.get(name)}: name "
                "another --output, take the change back, or remove the run"
            )


def _flat(config: Config) -> dict[str, Any]:
    """Return all settings by their dotted names."""
    import yaml

    sections = yaml.safe_load(config.to_yaml())
    dotted = {
        f"{name}.{key}": value for name, each in sections.items() if isinstance(each, dict) for key, value in each.items()
    }
    return dotted | {name: each for name, each in sections.items() if not isinstance(each, dict)}


def facts_of(run: "Run", output: Path) -> dict[str, Any]:
    """Return what `--json` says of a run; its loss is None until it is finished."""
    train, optim = run.config.train, run.config.optim
    return {
        **{"name": run.name, "config": str(config_file(run, output)), "run": str(run.config.run_directory)},
        **run.shape._asdict(),
        **{"parameters": run.parameters, "tokens": run.tokens, "tokens_per_parameter": run.tokens / run.parameters},
        **{"lr": optim.lr, "global_batch_size": train.global_batch_size, "steps": train.max_steps, "flops": run.flops},
        "loss": loss_of(run),
    }


def rule_in_words(base: Config, rule: "Rule") -> list[str]:
    from codeparrot.model.families import model_config
    from codeparrot.scale.rule import shape_of

    own, batch = shape_of(model_config(base.model)), base.train.global_batch_size
    several = (
        f"{batch} windows * (tokens / the recipe's) ^ {rule.batch_exponent:g}" if rule.batch_exponent else f"{batch} windows"
    )
    rates = f"{base.optim.lr:g} * (width / {own.width}) ^ -{rule.lr_exponent:g}" if rule.lr_exponent else f"{base.optim.lr:g}"
    ratios = f"{', '.join(f'{ratio:.3g}' for ratio in rule.ratios)} tokens a parameter, embeddings included"
    lengths = f"{', '.join(map(count_in_words, rule.tokens))} tokens, for every size" if rule.tokens else ratios
    root = f" * (batch / {batch}) ^ 0.5" if rule.batch_exponent else ""
    return [
        f"base        {base.run.name}: {own.depth} layers, width {own.width}, {own.heads} heads",
        f"dial        depth {', '.join(map(str, rule.depths))}; width = {own.width} * depth / {own.depth}, in heads of "
        f"{own.width // own.heads}; initial weights go with width ^ -0.5",
        f"lengths     {lengths}",
        f"lr          {rates}{root}",
        f"batch       {several} of {base.stream.seq_length} tokens",
        "steps       warm-up and lines of the log keep their share of them",
    ]


def table_of(runs: "list[Run]") -> list[str]:
    """Return the runs as lines."""
    width, total = max(len(each.name) for each in runs), sum(each.cost for each in runs)
    head = f"{'run':<{width}}  depth  width  heads  parameters        lr  batch    steps   tokens    FLOPs  share"
    return [head, *(_row(each, width, total) for each in runs)]


def _row(run: "Run", width: int, total: float) -> str:
    depth, wide, heads = run.shape
    train = run.config.train
    size = f"{run.name:<{width}}  {depth:>5}  {wide:>5}  {heads:>5}  {count_in_words(run.parameters):>10}"
    length = f"{train.global_batch_size:>5}  {train.max_steps:>7,}  {count_in_words(run.tokens):>7}"
    return f"{size}  {run.config.optim.lr:>8.3g}  {length}  {run.flops:>7.1e}  {run.cost / total:>5.0%}"


def results_of(runs: list[dict[str, Any]]) -> list[str]:
    width = max(len(each["name"]) for each in runs)
    lines = [f"{'run':<{width}}  parameters   tokens  loss, nats a token"]
    for each in runs:
        size = f"{count_in_words(each['parameters']):>10}  {count_in_words(each['tokens']):>7}"
        lines.append(f"{each['name']:<{width}}  {size}  {each['loss'] or float('nan'):.4f}")
    return lines

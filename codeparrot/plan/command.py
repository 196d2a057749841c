"""`codeparrot plan`: what a run will need, from its configuration, in under a minute and without a GPU.

Sizes are counted (sizes.py), memory is traced on fake tensors (trace.py, memory.py), speed comes from the user's own runs, a
probe or a stated share of the peak (speed.py). Neither the corpus nor the tokenizer has to exist. `--check` compares a
prediction with what a run used (check.py).
"""

from dataclasses import dataclass
from typing import Literal

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.figures import FORMATS
from codeparrot.location import path_of
from codeparrot.result import Result
from codeparrot.setting import at_least, setting


@dataclass
class Plan(Config):
    """A run, and what it is planned for."""

    gpus: int = setting(1, "processes", at_least(1))
    """GPUs of the run on all machines together: one process each."""
    gpu: str = "auto"
    """Their kind: h100-80gb, h200, b200, a100-40gb, a100-80gb, l40s, ...; cpu; auto: this machine's GPU, else its CPU."""
    launch: Literal["auto", "ddp", "fsdp", "zero1", "zero2", "zero3"] = "auto"
    """File in launch/; auto: the simplest whose memory fits."""
    hours: float = setting(0.0, "hours", at_least(0))
    """Hours available; 0: as many as it takes."""
    price: float = setting(0.0, rule=at_least(0))
    """Price of an hour of one GPU, in any currency; 0: no cost is shown."""
    like: str = ""
    """Run folder whose speed is taken, scaled by FLOPs a token and by devices; they should be of the same kind."""
    probe: bool = False
    """Measure the speed: 20 steps on this machine's device with made-up tokens, or as many as fit into a minute."""
    mfu: float = setting(0.0, rule=at_least(0))
    """Share of the device's peak that the run reaches, at most 1 (0.4, say); 0: on GPUs 0.29, which follows from nanoGPT's
    README for GPT-2 on 8 A100."""
    corpus_tokens: int = setting(0, "tokens", at_least(0))
    """Tokens of the corpus; 0: estimated where `stream.train` and the tokenizer are on this machine."""
    figure: str = ""
    """Picture of the memory to write (.png, .svg or .pdf)."""
    check: str = ""
    """Run folder: compare what would have been predicted with what the run used. The configuration is the run's own."""
    table: bool = False
    """Print the table of launch/README.md and nothing else."""


def check(settings: Plan) -> None:
    """Check what can be known before anything is loaded.

    Raises:
        CodeparrotError: settings contradict each other.
    """
    from codeparrot import checks
    from codeparrot.setting import check_ranges

    if settings.table or settings.check:
        check_ranges(settings)
        return
    checks.check(settings)
    checks.check_world_size(settings, settings.gpus)
    ways = [name for name in ("like", "probe", "mfu") if getattr(settings, name)]
    if len(ways) > 1:
        raise CodeparrotError(f"--{ways[0]} and --{ways[1]} both say how fast the run is; give one of them")
    if settings.probe and settings.gpu not in ("auto", "cpu"):
        raise CodeparrotError(f"--probe measures this machine's device, not {settings.gpu}; leave --gpu out")
    if not 0 <= settings.mfu <= 1:
        raise CodeparrotError(f"--mfu is {settings.mfu}; it is a share of the peak, above 0 and at most 1 (0.4)")
    if settings.figure and path_of(settings.figure).suffix not in FORMATS:
        raise CodeparrotError(f'--figure "{settings.figure}" has no known picture format: end its name in {", ".join(FORMATS)}')


def plan(settings: Plan) -> Result:
    """Say before a run what it will need: parameters, tokens, memory by category and strategy, the micro-batch that fits, time,
    cost and disk. Takes less than a minute (more with a probe), and needs neither a GPU nor the corpus.

    Raises:
        CodeparrotError: no model can be built from the settings; the GPU or the run is not known; a picture cannot be written.
    """
    if settings.table:
        from codeparrot.plan.table import table

        return table()
    if settings.check:
        from codeparrot.plan.check import compare

        return compare(settings)
    from codeparrot.plan.forecast import forecast
    from codeparrot.plan.report import as_json, as_text

    found = forecast(settings)
    if settings.figure:
        from codeparrot.plan.figure import draw

        draw(found, settings.figure)
    return Result(as_text(found), as_json(found))

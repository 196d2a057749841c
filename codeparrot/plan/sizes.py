"""What follows from a configuration by counting: parameters, tokens, FLOPs, epochs, bytes on the disk and on the Hub."""

import copy
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.loading import tokenizer_here
from codeparrot.location import is_address, path_of
from codeparrot.model.families import model_config, num_parameters, without_weights
from codeparrot.model.flops import flops_per_token
from codeparrot.model.kinds import kind_of
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import (
    check_windows,
    fitted,
    head_share,
    kind_trained,
    lengths_of,
    longest,
    transforms_of,
)
from codeparrot.optim import load_optimizer
from codeparrot.optim.optimizer import kept_numbers
from codeparrot.stream.batches import batches_of
from codeparrot.training.fitting import fit_vocabulary
from codeparrot.training.source import fit_source, settings_of, source_of, tokenizer_of

CHINCHILLA = 20
"""Tokens a parameter at which a fixed compute is spent best (Hoffmann and others, 2022)."""
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Corpus:
    """The training documents, as far as they are known."""

    tokens: int | None
    source: str
    """Where the number is from, or why there is none."""


@dataclass(frozen=True)
class Sizes:
    parameters: int
    optimizer_numbers: int
    """That the optimizer keeps beside the parameters."""
    flops_per_token: int
    """PaLM's count: 6 N and attention without the mask's saving; recomputation is not counted."""
    tokens_per_step: int
    tokens: int
    flops: float
    tokens_per_parameter: float
    corpus_tokens: int | None
    corpus_source: str
    epochs: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Checkpoints:
    """What a run writes."""

    model_bytes: int
    """One checkpoint's weights, float32."""
    state_bytes: int
    """One checkpoint's optimizer."""
    written: int
    kept: int
    """At the end of the run."""
    disk_bytes: int
    """The most that is on the disk: those that are kept, and one that is being written."""
    pushed: int
    hub_bytes: int


def model_settings(config: Config) -> Any:
    """Return the transformers config of a run's model, checked against its tokenizer where that is on this machine.

    Raises:
        CodeparrotError: no model can be built from the settings, or it or the objective does not fit the tokenizer.
    """
    source = source_of(config, weights=False)
    settings = shape_of(config)
    if _tokenizer_exists(config):
        tokenizer = tokenizer_of(config, source)
        objective = fitted(load_objective(config.objective), tokenizer)
        check_windows(objective, config.stream)
        length = longest(objective, config.stream.seq_length)
        if source:
            fit_source(settings, tokenizer, config, source, length)
        fits = fit_vocabulary(copy.deepcopy(settings), tokenizer, config, length)
        if kind_of(settings) != "causal":  # the tokenizer's, without which some families do not run
            settings.pad_token_id = fits.pad_token_id
        transforms_of(objective, config, tokenizer)
    else:
        check_windows(load_objective(config.objective), config.stream)
    if kind_of(settings) == "encoder-decoder":
        for name in ("pad_token_id", "decoder_start_token_id"):  # the tokenizer says which; any will do here
            setattr(settings, name, getattr(settings, name, None) or 0)
    return settings


def shape_of(config: Config) -> Any:
    """Return the transformers config of a run's model: that of its settings, or of the weights that it begins with.

    Raises:
        CodeparrotError: no model can be built from the settings.
    """
    source = source_of(config, weights=False)
    return settings_of(config, source) if source else model_config(config.model, kind_trained(load_objective(config.objective)))


def _tokenizer_exists(config: Config) -> bool:
    if not config.tokenizer.path:
        return True  # it is the one of the weights
    return path_of(config.tokenizer.path).exists() and tokenizer_here(config.tokenizer.path) is not None


def count(config: Config, settings: Any, corpus: Corpus) -> Sizes:
    """Return what follows from the configuration."""
    parameters = num_parameters(settings)
    optim = config.optimizer_settings()
    kept = kept_numbers(load_optimizer(optim), without_weights(settings), optim)
    objective, length = load_objective(config.objective), config.stream.seq_length
    flops = flops_per_token(settings, length, head_share(objective), lengths_of(objective, length))
    tokens = batches_of(config.train).before(config.train.max_steps) * config.stream.seq_length
    step = tokens // config.train.max_steps
    epochs = tokens / corpus.tokens if corpus.tokens else None
    return Sizes(
        *(parameters, kept, flops, step, tokens, float(flops) * tokens, tokens / parameters),
        *(corpus.tokens, corpus.source, epochs),
    )


def corpus_of(config: Config, given: int) -> Corpus:
    """Return the size of the training documents: as the user gave it, or estimated where they and the tokenizer are here."""
    if given:
        return Corpus(given, "--corpus_tokens")
    from codeparrot.stream.entries import places_of
    from codeparrot.stream.mixture import mixture_of
    from codeparrot.stream.readers.globs import expand

    names = places_of(config.stream.train)
    here = [path_of(name) for name in names if not is_address(name)]
    if not names or not all(place.exists() or expand(str(place)) for place in here):
        return Corpus(None, "stream.train is not on this machine; --corpus_tokens says how many it has")
    if not _tokenizer_exists(config):
        return Corpus(None, "tokenizer.path is not on this machine; --corpus_tokens says how many tokens there are")
    from codeparrot.stream import ConstantLengthDataset, make_encoder
    from codeparrot.stream.balance import resolved
    from codeparrot.stream.estimate import epoch_tokens

    tokenizer = tokenizer_of(config, source_of(config, weights=False))
    encoder = make_encoder(tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id, config.stream.encoder)
    try:
        config = replace(config, stream=resolved(config.stream))
        transforms = transforms_of(load_objective(config.objective), config, tokenizer)
        how: Any = {"seed": config.run.seed, "transform": transforms, "mixture": mixture_of(config)}
        known = epoch_tokens(ConstantLengthDataset(config.stream, encoder, **how))
    except CodeparrotError as error:
        return Corpus(None, str(error))
    if known is None:
        return Corpus(None, "its length is not known without reading it; --corpus_tokens says it")
    tokens, exact = known
    return Corpus(tokens, "counted" if exact else "estimated from some documents")


def checkpoints_of(config: Config, parameters: int, optimizer_numbers: int, seconds: float | None) -> Checkpoints:
    """Return what the run writes and pushes.

    Args:
        config: of the run.
        parameters: of its model.
        optimizer_numbers: that its optimizer keeps.
        seconds: how long it takes, for checkpoints by time; None: not known, and those are not counted.
    """
    model, state = FLOAT32_BYTES * parameters, FLOAT32_BYTES * optimizer_numbers
    settings, steps = config.checkpoint, config.train.max_steps
    saved = _steps_of_saves(config, seconds)
    last = set(saved[-settings.keep_last :])
    forever = {step for step in saved if settings.keep_every_steps and step % settings.keep_every_steps == 0}
    kept = len(last | forever)
    pushed = [step for step in saved if step == steps or not config.hub.every or step % config.hub.every == 0]
    number = len(pushed) if config.hub.repo else 0
    average = model if config.train.ema_decay else 0
    each = model + (state if config.hub.state else average)
    return Checkpoints(model, state, len(saved), kept, (kept + 1) * (model + state), number, number * each)


def _steps_of_saves(config: Config, seconds: float | None) -> list[int]:
    """Return the steps after which the run saves: by steps, by time, and at its end."""
    steps, every = config.train.max_steps, config.checkpoint.every_steps
    saved = set(range(every, steps + 1, every)) if every else set()
    if seconds and config.checkpoint.every_minutes:
        apart = max(1, math.ceil(60 * config.checkpoint.every_minutes * steps / seconds))
        before = 0
        for step in sorted({*saved, steps}):  # minutes count from the last checkpoint, whatever called for it
            saved.update(range(before + apart, step, apart))
            before = step
    return sorted({*saved, steps})

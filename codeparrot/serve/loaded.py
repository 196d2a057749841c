"""Loading the model behind the server and the index that it searches, and what there is to tell of the model."""

import logging
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError
from codeparrot.loading import load_model, require_middles
from codeparrot.run.checkpoint import MANIFEST, read_manifest
from codeparrot.run.curves import read
from codeparrot.serve.desk import Desk
from codeparrot.serve.metrics import Metrics
from codeparrot.serve.service import STANDARD, Limits, Service
from codeparrot.serve.spelling import Spelling
from codeparrot.stream.cores import available_cores

if TYPE_CHECKING:
    from codeparrot.generation.engine import Engine
    from codeparrot.serve.search import Searcher

log = logging.getLogger(__name__)

MOST_POINTS = 400
"""Of the loss curve that the page shows."""
MOST_CACHED = 65_536
CACHE_BYTES = 2**30
"""The prefix cache takes no more: its tokens are 10 kB each in a model of 12M parameters, 600 kB in one of 1.5B."""


def name_of(model: str) -> str:
    """Return the name that clients see of a model: its run's, or codeparrot where that has "gpt" in it.

    Args:
        model: what `find_model` returns.
    """
    folder = Path(model)
    run = _run_of(folder)
    name = run.name if run else folder.parent.name if folder.name == "model" else folder.stem
    # Clients choose a template of chats by such a name.
    return "codeparrot" if not name or "gpt" in name.lower() else re.sub(r"[^\w.\-]+", "-", name)


def _run_of(model: Path) -> Path | None:
    """Return the folder of the run that a model folder belongs to."""
    checkpoints = model.resolve().parent.parent
    return checkpoints.parent if checkpoints.name == "checkpoints" and model.name == "model" else None


@dataclass(frozen=True)
class Settings:
    """How a model is run."""

    batch_size: int = 16
    """Completions at a time."""
    cache_tokens: int = MOST_CACHED
    """Tokens of prompts that the prefix cache holds, if CACHE_BYTES hold them."""
    threads: int = 0
    """To compute with; 0: as many as there are cores."""
    device: str = "auto"
    index: str = ""
    """That is searched; empty: none."""
    index_checkpoint: str = ""
    """Where the index's model lies now; empty: where it was."""


def service_of(name: str, settings: Settings, limits: Limits = STANDARD) -> Service:
    """Return a service that waits for its model."""
    metrics = Metrics()
    return Service(name, Desk(limits.queue, metrics, settings.batch_size), limits, metrics)


def engine_of(service: Service, model: str, settings: Settings) -> "Engine":
    """Return an engine for a service, whose model is loaded first if it is not there yet.

    Args:
        service: what endpoints share.
        model: what `find_model` returns.
        settings: how it is run.

    Raises:
        CodeparrotError: it cannot be loaded.
    """
    from codeparrot.generation.engine import Engine

    if service.model is None:
        _cap_threads(settings.threads)
        service.searcher = _searcher(settings)  # before the model: what is wrong with an index shows sooner
        _load(service, model, settings.device)
    kept = _cache_tokens(service.model, settings.cache_tokens)
    engine = Engine(service.model, service.tokenizer, settings.batch_size, multiple=None, cache_tokens=kept)
    if service.state == "loading":
        service.state = "ready"
    return engine


def _searcher(settings: Settings) -> "Searcher | None":
    """Open the index that is searched, and load its model."""
    if not settings.index:
        return None
    import faiss  # noqa: F401 - its absence is said before anything is read

    from codeparrot.serve.search import Searcher

    return Searcher(settings.index, settings.index_checkpoint, settings.device)


def _cache_tokens(model: Any, wanted: int) -> int:
    """Return how many of the wanted tokens the prefix cache may hold."""
    config = model.config.get_text_config()
    heads, width = (getattr(config, name, None) for name in ("num_key_value_heads", "head_dim"))
    numbers = 2 * config.num_hidden_layers * (heads * width if heads and width else config.hidden_size)
    most = CACHE_BYTES // (numbers * model.dtype.itemsize)
    if most < wanted:
        log.info("the prefix cache holds %d tokens: more would take over %d MiB", most, CACHE_BYTES // 2**20)
    return min(wanted, most)


def _cap_threads(threads: int) -> None:
    """Let torch compute with so many threads, at most as many as this process has cores; 0: all."""
    import torch

    cores = available_cores()
    torch.set_num_threads(min(threads or cores, cores))


def _load(service: Service, model: str, device: str) -> None:
    from codeparrot.generation.prompts import context_length
    from codeparrot.stream.sentinels import sentinels_of

    network, service.tokenizer = load_model(model, device)
    service.spelling = Spelling(service.tokenizer)
    service.context = context_length(network)
    service.sentinels = sentinels_of(service.tokenizer)
    if service.sentinels is None:
        service.why_not = "the model's tokenizer has no tokens for fill-in-the-middle: leave the suffix out"
    else:
        try:
            service.order = require_middles(model, "leave the suffix out")
        except CodeparrotError as error:
            service.why_not = str(error)
    service.model = network
    service.facts = facts_of(service, model)


def facts_of(service: Service, model: str) -> dict[str, Any]:
    """Return what there is to tell of a loaded model."""
    folder = Path(model)
    facts: dict[str, Any] = {
        "name": service.name,
        "family": service.model.config.model_type,
        "parameters": sum(each.numel() for each in service.model.parameters()),
        "vocabulary": len(service.tokenizer),
        "context": service.context,
        "created": int(folder.stat().st_mtime if folder.exists() else time.time()),
        "run": None,
        "step": None,
        "tokens": None,
        "curve": [],
    }
    if (folder.parent / MANIFEST).is_file():
        facts |= _of_checkpoint(folder.parent)
    if run := _run_of(folder):
        facts |= {"run": run.name, "curve": _curve(run)}
    return facts


def _of_checkpoint(checkpoint: Path) -> dict[str, Any]:
    try:
        manifest = read_manifest(checkpoint)
    except CodeparrotError as error:
        log.warning("%s", error)
        return {}
    return {name: manifest.get(name) for name in ("step", "tokens")}


def _curve(run: Path) -> list[list[float | None]]:
    """Return at most `MOST_POINTS` pairs of tokens and loss; None where the loss is not finite: JSON has no such number."""
    try:
        loss = read(run).loss
    except CodeparrotError as error:
        log.warning("no loss curve: %s", error)
        return []
    every = max(1, -(-len(loss.tokens) // MOST_POINTS))
    pairs = list(zip(loss.tokens, loss.values, strict=True))[::every]
    return [[tokens, value if math.isfinite(value) else None] for tokens, value in pairs]

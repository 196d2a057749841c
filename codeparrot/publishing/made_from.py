"""What a model was made from, on its card: the recipe, the weights it began with, the data and their licences."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codeparrot.corpus.output import STATISTICS
from codeparrot.corpus.report.reading import read_statistics
from codeparrot.errors import CodeparrotError
from codeparrot.location import is_address, is_hub_name, path_of
from codeparrot.markdown_tables import table
from codeparrot.objectives import load_objective
from codeparrot.objectives.objective import card_of
from codeparrot.optim import load_optimizer
from codeparrot.stream.batches import batches_of
from codeparrot.stream.entries import paths_of, sources_of

logger = logging.getLogger("codeparrot")

LICENSES_SHOWN = 10


def recipe(config: dict[str, Any], source: dict[str, Any] | None) -> list[str]:
    """Return the section of the card that says how the model was trained. `source`: of the weights it began with."""
    train, optim, schedule, stream = config["train"], config["optim"], config["schedule"], config["stream"]
    fields = {key: value for key, value in config["model"].items() if key not in ("family", "from")}
    model = ", ".join(f"{key} {value}" for key, value in fields.items())
    rows = [
        ("model", f"{config['model']['family']}: {model}" if model else config["model"]["family"]),
        *([("weights", _weights(source))] if source else []),
        ("batch", _batch(train, stream["seq_length"])),
        ("length", f"{train['max_steps']:,} steps, {_total_tokens(config):,} tokens{_padding(stream)}"),
        *_packing(stream),
        ("precision", train["precision"]),
        ("objective", card_of(load_objective(config.get("objective", {})), config["stream"]["train"])),
        ("optimizer", load_optimizer(optim | {"ema_decay": train.get("ema_decay")}).card(optim)),
        ("clipping", f"gradient norm {optim['clip_norm']}" if optim["clip_norm"] else "none"),
        ("schedule", f"{schedule['name']}, {schedule['warmup_steps']} steps of warm-up"),
        ("seed", str(config["run"]["seed"])),
    ]
    return ["## Recipe", "", *table(("", ""), rows), "", "The whole configuration is in `config.yaml`.", ""]


def _weights(source: dict[str, Any]) -> str:
    """Say what the run began with."""
    name = source["from"] if is_on_the_hub(source["from"]) else Path(source["from"]).name
    digests = ", ".join(f"{file} {digest}" for file, digest in source["sha256"].items())
    return f"those of {' at '.join(filter(None, (name, source['revision'])))} (SHA-256: {digests})"


def _packing(stream: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the row on packing, where it is not the usual one. A run of an older version has only that."""
    packed = ["documents packed best-fit"] if stream.get("packing") == "best_fit" else []
    packed += ["documents of a window do not see each other"] if stream.get("document_mask") else []
    if packed:
        yield "packing", "; ".join(packed)


def _padding(stream: dict[str, Any]) -> str:
    return " with padding" if stream.get("packing") == "best_fit" else ""


def _total_tokens(config: dict[str, Any]) -> int:
    return batches_of(config["train"]).before(config["train"]["max_steps"]) * config["stream"]["seq_length"]


def _batch(train: dict[str, Any], length: int) -> str:
    first, *later = batches_of(train).stretches
    grown = "".join(f", {size} from step {step + 1} on" for step, size in later)
    return f"{first[1]} windows of {length} tokens a step{grown}"


def data(config: dict[str, Any], read: list[dict[str, Any]]) -> list[str]:
    """Return where the documents come from. `read`: what was read of each source of a mixture."""
    lines = ["## Data", ""]
    if read:
        rows = [
            (each["name"], f"{each['weight']:g}", f"{each['share']:.1%}", f"{each['tokens']:,}", f"{each['epochs']:.2f}")
            for each in read
        ]
        lines += [*table(("source", "weight", "share of the windows", "tokens seen", "epochs"), rows), ""]
    for phase in config["stream"].get("phases", []):
        lines += [f"Until {phase['until']:.0%} of the steps, weights: {phase.get('weights', 'those of the sources')}.", ""]
    sources = sources_of(config["stream"]["train"])
    for source in paths_of(config["stream"]["train"]):
        names = [each.name for each in sources if (each.path, each.description) == (source.path, source.description)]
        called = f" ({', '.join(names)})" if source.name else ""
        called += f", pairs of text and `{source.description}`" if source.description else ""
        for name in source.path:
            shown = name if is_on_the_hub(name) else Path(name).name
            # A card waits for no server: of data at an address it says the name alone.
            facts = "" if is_address(name) else "".join(_of_corpus(path_of(name)))
            lines += [f"- `{shown}`{called}{facts}"]
    return [*lines, "", "The model may repeat its training data; what it writes can be under the licences above.", ""]


def _of_corpus(folder: Path) -> Iterator[str]:
    """Yield what the statistics of a corpus say, if the folder is one."""
    if not (folder / STATISTICS).is_file():
        return
    try:
        statistics = read_statistics(folder, ("documents", "bytes", "licenses"))
    except CodeparrotError as error:
        logger.warning("the card says nothing of the documents in %s: %s", folder, error)
        return
    yield f": {statistics['documents']:,} documents, {statistics['bytes']:,} bytes of text"
    licenses = sorted(statistics["licenses"].items(), key=lambda item: (-item[1]["documents"], item[0]))
    shown = ", ".join(f"{name} ({facts['documents']:,})" for name, facts in licenses[:LICENSES_SHOWN])
    more = len(licenses) - LICENSES_SHOWN
    yield f". Licences, with their documents: {shown}{f' and {more} more' if more > 0 else ''}"


def is_on_the_hub(name: str) -> bool:
    return not is_address(name) and not path_of(name).exists() and is_hub_name(name)

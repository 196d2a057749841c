"""What `stream.train` may say: names, or entries, each of which stands for a source or for a source a language.

An entry with `weights` by language is cut into a source for each: same places, documents of one language (of_language.py). One
with `balance` is a single source until the weights are known (balance.py).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

from codeparrot.errors import CodeparrotError, nearest
from codeparrot.languages.names import canonical

TRAIN = "stream.train"


@dataclass(frozen=True)
class Source:
    """A source of training documents, as an entry of `stream.train` names it."""

    path: list[str]
    """One place or several, each as in a `stream.train` without weights."""
    name: str
    """In logs, metrics and `inspect`; by default the last part of the path."""
    weight: float = 1.0
    """Its share of the windows, relative to the other sources."""
    epochs: float = 0.0
    """A warning says when it is read more often than that; 0: none does."""
    valid: list[str] = field(default_factory=list)
    """Its own validation documents, measured at each evaluation."""
    description: str = ""
    """Column that holds the descriptions of its documents: these are learned as pairs, both ways (objectives/pairs.py)."""
    language: str = ""
    """Of the only documents that it reads; empty: all of them."""
    balance: float | None = None
    """It is to be cut into a source a language, with weights in proportion to bytes**balance (balance.py)."""


KEYS = (*(each.name for each in dataclasses.fields(Source) if each.name != "language"), "weights")
"""What an entry may hold."""


def sources_of(train: Any) -> list[Source]:
    """Return the sources of `stream.train`: one where it is a name or a list of names.

    Raises:
        CodeparrotError: an entry cannot be a source.
    """
    if not is_mixture(train):
        return [Source([train] if isinstance(train, str) else list(train), "")]
    entries = [train] if isinstance(train, Mapping) else train
    sources = [source for entry in entries for source in _sources(entry, alone=len(entries) == 1)]
    names = [source.name for source in sources]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise CodeparrotError(f'{TRAIN} has two sources of the name "{twice}"; give each a name of its own: name: {twice}-2')
    check_weights([source.weight for source in sources], TRAIN)
    return sources


def is_mixture(train: Any) -> bool:
    """Whether `stream.train` holds sources rather than names."""
    return isinstance(train, Mapping) or (isinstance(train, list) and any(isinstance(entry, Mapping) for entry in train))


def places_of(train: Any) -> list[str]:
    """Return all names in `stream.train`, whichever sources they belong to, each once."""
    return list(dict.fromkeys(name for source in sources_of(train) for name in source.path))


def paths_of(train: Any) -> list[Source]:
    """Return the sources of `stream.train`, of those that share their places the first alone: what opens as files."""
    first: dict[tuple[tuple[str, ...], str], Source] = {}
    for source in sources_of(train):
        first.setdefault((tuple(source.path), source.description), source)
    return list(first.values())


def _sources(entry: Any, alone: bool) -> list[Source]:
    """Return the source of an entry, or one a language. `alone`: it is the only entry, so its weights stay as they are."""
    source = _source(entry)
    where = f'{TRAIN} "{source.name}"'
    weights = entry.get("weights")
    if weights is not None and source.balance is not None:
        raise CodeparrotError(f"{where} has weights and balance, and balance says what the weights are; leave one out")
    if source.valid and (weights is not None or source.balance is not None):
        raise CodeparrotError(
            f"{where} has valid, and its languages are sources of their own; name these documents in evaluate.also"
        )
    if weights is None:
        return [source]
    if not isinstance(weights, Mapping) or not weights:
        raise CodeparrotError(f"{where}: weights is {weights}; name languages: {{python: 0.5, rust: 0.2}}")
    found = {str(name): number(weight, f'{where}: the weight of "{name}"') for name, weight in weights.items()}
    check_weights(list(found.values()), where)
    names = [canonical(name) for name in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        same = " and ".join(name for name in found if canonical(name) == twice)
        raise CodeparrotError(f'{where}: {same} are the same language, "{twice}"; name it once')
    scale = 1 if alone else Fraction(str(source.weight)) / sum(Fraction(str(weight)) for weight in found.values())
    named = f"{entry['name']}-" if entry.get("name") else ""
    return [
        replace(source, name=named + name.replace("/", "-"), language=name, weight=float(Fraction(str(weight)) * scale))
        for name, weight in zip(names, found.values(), strict=True)
    ]


def _source(entry: Any) -> Source:
    if not isinstance(entry, Mapping):
        raise CodeparrotError(f"{TRAIN} mixes sources and names; write {entry} as {{path: {entry}, weight: 1}}")
    check_keys(entry, KEYS, TRAIN)
    path, valid = (_names(entry.get(key, []), f"{TRAIN}: {key}") for key in ("path", "valid"))
    if not path:
        raise CodeparrotError(f"{TRAIN}: {dict(entry)} has no path; name its documents: path: data/python")
    name = entry.get("name") or _default_name(path[0])
    if not isinstance(name, str) or "/" in name:
        raise CodeparrotError(f'{TRAIN}: the name "{name}" of {path[0]} is not a word; choose one without "/"')
    where = f'{TRAIN} "{name}"'
    weight, epochs = number(entry.get("weight", 1), f"{where}: weight"), number(entry.get("epochs", 0), f"{where}: epochs")
    if not isinstance(description := entry.get("description", ""), str):
        raise CodeparrotError(f"{where}: description is {description}; it must be the name of a column: docstring")
    balance = None if entry.get("balance") is None else number(entry["balance"], f"{where}: balance")
    return Source(path, name, weight, epochs, valid, description, balance=balance)


def _default_name(path: str) -> str:
    """Return the last part of a path or of a name on the Hub, without revision."""
    return PurePosixPath(path.removeprefix("hub:").partition("@")[0]).name or path


def check_weights(weights: Sequence[float], where: str) -> None:
    """Raise CodeparrotError if nothing would be read."""
    if not sum(weights) > 0:
        raise CodeparrotError(f"{where}: the weights add up to 0, so nothing would be read; give a source a weight above 0")


def check_keys(entry: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise CodeparrotError if an entry holds what nothing reads."""
    if unknown := next((key for key in entry if key not in known), None):
        raise CodeparrotError(f'{where}: there is no "{unknown}" in {dict(entry)}{nearest(str(unknown), known)}')


def number(value: Any, name: str) -> float:
    """Return a weight, or what else is a number of 0 or more.

    Raises:
        CodeparrotError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise CodeparrotError(f"{name} is {value}; it must be a number, 0 or more and finite")
    return value


def _names(value: Any, name: str) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(each, str) and each for each in names):
        raise CodeparrotError(f"{name} is {value}; it must be the name of documents, or a list of names")
    return names

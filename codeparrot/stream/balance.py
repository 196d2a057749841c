"""Weights of the languages of an entry with `balance`: bytes of text to its power, from the training documents.

The bytes come from the statistics that a corpus holds, or the texts are read once. Languages with fewer documents than there
are lanes are left out, which the log says. The weights are a function of the data, so a run that goes on finds the same ones.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.languages.names import canonical
from codeparrot.location import is_address, path_of
from codeparrot.stream.entries import TRAIN, Source, is_mixture, sources_of
from codeparrot.stream.languages_of import UNKNOWN, Indexed, indexed
from codeparrot.stream.of_language import OpenFiles
from codeparrot.stream.readers import remote
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.sources import open_shards

logger = logging.getLogger("codeparrot")

STATISTICS = "statistics.json"
DIGITS = 6
"""Of a weight, so that it reads well."""
AT_ONCE = 256
"""Documents whose bytes are counted at once."""


def resolved(stream: StreamConfig) -> StreamConfig:
    """Return the configuration with weights in the place of each `balance`.

    Raises:
        CodeparrotError: the data cannot be read, or do not say their languages.
    """
    if not is_mixture(stream.train):
        return stream
    entries: list[Any] = [stream.train] if isinstance(stream.train, Mapping) else list(stream.train)
    changed = [_resolved(entry, stream) if entry.get("balance") is not None else entry for entry in entries]
    return stream if changed == entries else replace(stream, train=changed)


def _resolved(entry: Mapping[str, Any], stream: StreamConfig) -> dict[str, Any]:
    (source,) = sources_of([entry])
    where = f'{TRAIN} "{source.name}"'
    files = open_shards(
        source.path, split="train", column=stream.text_column, seq_length=stream.seq_length, setting=f"{where}: balance"
    )
    found = indexed(files, f"{where}: balance")
    enough = {name: count for name, count in found.documents.items() if count >= stream.lanes}
    if left := {name: count for name, count in found.documents.items() if name not in enough}:
        shown = ", ".join(f"{name} ({count})" for name, count in left.items())
        logger.info(
            "%s: balance leaves out languages with fewer documents than stream.lanes %d: %s", where, stream.lanes, shown
        )
    if not enough:
        raise CodeparrotError(f"{where}: no language has as many documents as there are lanes; lower stream.lanes")
    sizes = _stated(source, set(found.documents)) or counted(found)
    weights = balanced({name: sizes.get(name, 0) for name in enough}, source.balance or 0.0)
    return {**{key: value for key, value in entry.items() if key != "balance"}, "weights": weights}


def balanced(num_bytes: Mapping[str, int], exponent: float) -> dict[str, float]:
    """Return shares of languages in proportion to bytes**exponent: 1 leaves them as they are, 0 makes them equal."""
    most = max(1, *num_bytes.values())
    powers = {name: max(1, size) / most for name, size in num_bytes.items()}
    powers = {name: share**exponent for name, share in powers.items()}
    total = sum(powers.values())
    return {name: float(f"{power / total:.{DIGITS}g}") for name, power in powers.items()}


def counted(found: Indexed) -> dict[str, int]:
    """Return the bytes of text of each language, by reading all texts once."""
    sizes: dict[str, int] = defaultdict(int)
    column = found.files[0].column
    opened = OpenFiles(found, column, found.files[0].column_setting)
    for number, file in enumerate(found.of_files):
        # In the order of the file, so that each row group is decoded once.
        places = sorted((place, name) for name, own in file.places.items() for place in own.tolist())
        for first in range(0, len(places), AT_ONCE):
            some = places[first : first + AT_ONCE]
            texts = opened.file(number).texts_at([place for place, _ in some])
            for (_, name), text in zip(some, texts, strict=True):
                sizes[name] += 0 if isinstance(text, Damaged) else len(text.encode())
        opened.close()
    return sizes


def _stated(source: Source, languages: set[str]) -> dict[str, int]:
    """Return the bytes of each language as the statistics of corpora say them; nothing where one is missing or lacks some."""
    sizes: dict[str, int] = defaultdict(int)
    for name in source.path:
        try:
            folder = remote.Place(name.rstrip("/")) if is_address(name) else path_of(name)
            stated = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))["languages"]
            for language, facts in stated.items():
                sizes[canonical(language) or UNKNOWN] += int(facts["bytes"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, remote.Missing):
            return {}  # no corpus, or one of an older version
    return sizes if languages <= set(sizes) else {}

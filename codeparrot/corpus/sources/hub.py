"""The source `hub:NAME[:CONFIG][@REVISION]`: any data set that `datasets` can stream, from the Hub or from a folder.

It is streamed from its beginning, in its own order, and never stored. A data set on the Hub is pinned to the commit that its
revision names at the start; the statistics record it. Workers fetch Parquet files one row group at a time, so a resumed build
fetches only what it lacks. The rows of other files all pass through this process, and again after an interruption.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.documents import TRAIN, ColumnNames, Reading, Record, Removed, Source, Unit
from codeparrot.corpus.sources.files import walk_sources
from codeparrot.corpus.sources.listing import UNREACHABLE, digest, digest_of_all, state_of
from codeparrot.corpus.sources.presets import columns_of
from codeparrot.corpus.sources.tables import ROWS, left_out, record, require_columns, require_text, row_groups
from codeparrot.errors import CodeparrotError
from codeparrot.result import say
from codeparrot.stream.readers import hub
from codeparrot.stream.readers.folder import standing_for
from codeparrot.stream.readers.rows import Damaged

ON_HUB = "hf://"
WITHOUT_TEXTS = "bigcode/the-stack-v2"
"""Its tables name files that lie elsewhere."""


def open_hub(spec: str, reading: Reading) -> Source:
    """Open the train split of a data set, or its only split."""
    name, columns = hub.parse(spec), reading.columns
    if name.path.startswith(WITHOUT_TEXTS):
        require_columns(["blob_id"], columns, name.path)
    with hub.readable(spec):
        # Asked first: without a network this fails at once, while `datasets` keeps trying for half a minute.
        revision = hub.commit_of(name)
        data = hub.open_data_set(name, revision)
    split = _train_split(name, data.splits)
    if others := [each for each in data.splits if each != split]:
        say(f"{spec}: its {split} split is read, {' and '.join(others)} left out: a corpus is built of what is to train on")
    repo_name = Path(name.path).resolve().name if name.is_local else name.path
    facts = {"kind": "hub", "name": name.path, "config": name.config, "revision": revision, "split": split}
    listing = digest(name.path, name.config, split, revision or _state_of_folder(Path(name.path)))
    if data.is_parquet:
        return Source(facts, _groups(spec, repo_name, data.files[split], reading), None, listing)
    with hub.readable(spec):
        rows = data.rows(split)
    return Source(facts, _stream(spec, repo_name, rows, columns, listing), None, listing)


def _state_of_folder(folder: Path) -> str:
    return digest_of_all(digest(path, *state_of(folder / path)) for path in walk_sources(folder, frozenset()))


def _train_split(name: hub.Name, splits: list[str]) -> str:
    split = splits[0] if len(splits) == 1 else standing_for(TRAIN, splits)
    if split is None:
        raise CodeparrotError(f"{name.path} has no train split but {', '.join(splits)}; a corpus is built from a train split")
    return split


def _groups(spec: str, repo_name: str, files: list[str], reading: Reading) -> Iterator[Unit]:
    first_row = 0
    for file in files:
        state = UNREACHABLE if file.startswith(ON_HUB) else state_of(file)  # on the Hub the name holds the commit
        try:
            with hub.readable(spec):
                groups = list(row_groups(file, state, repo_name, reading.columns, first_row))
        except Damaged as damaged:
            yield left_out(damaged, state, reading.on_error)
            continue
        yield from groups
        first_row += sum(group.num_rows for group in groups)


class Rows(NamedTuple):
    """Consecutive rows, already fetched."""

    listing: str
    repo_name: str
    first_row: int
    rows: list[dict[str, Any]]
    columns: ColumnNames

    @property
    def key(self) -> str:
        return digest(self.listing, "row", self.first_row)

    def records(self) -> Iterator[Record | Removed]:
        for number, row in enumerate(self.rows, self.first_row):
            yield record(row, self.columns, self.repo_name, number)


def _stream(spec: str, repo_name: str, dataset: Any, columns: ColumnNames, listing: str) -> Iterator[Rows]:
    with hub.readable(spec):
        first_row = 0
        if dataset.column_names:
            columns = columns_of(tuple(dataset.column_names), columns)
            wanted = set(dataclasses.astuple(columns))
            require_columns(dataset.column_names, columns, spec)
            dataset = dataset.select_columns([each for each in dataset.column_names if each in wanted])
        for batch in dataset.iter(batch_size=ROWS):
            present = columns_of(tuple(batch), columns)
            if not first_row:
                require_columns(list(batch), present, spec)
                require_text(batch[present.text][0], present, f"row 0 of {spec}")
            rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
            yield Rows(listing, repo_name, first_row, rows, present)
            first_row += len(rows)

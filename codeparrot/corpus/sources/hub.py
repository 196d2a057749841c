"""The source `hub:NAME[:CONFIG][@REVISION]`: any data set that `datasets` can stream, from the Hub or from a folder.

It is streamed from its beginning, in its own order, and never stored. A data set on the Hub is pinned to the commit that
its revision names at the start; the statistics record it. No code of a data set is run. Of Parquet files, which is what
nearly all data sets are, a worker fetches a row group at a time, so a build that goes on fetches only what it lacks; of
other files all rows pass through this process, again after an interruption.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.documents import TRAIN, ColumnNames, Record, Removed, Source
from codeparrot.corpus.sources.files import Walk
from codeparrot.corpus.sources.listing import UNREACHABLE, digest, digest_of_all, state_of
from codeparrot.corpus.sources.presets import columns_of
from codeparrot.corpus.sources.tables import ON_HUB, PARQUET, ROWS, RowGroup, record, require_columns, row_groups
from codeparrot.errors import CodeparrotError

PREFIX = "hub:"
WITHOUT_TEXTS = "bigcode/the-stack-v2"
"""Its tables name files that lie elsewhere."""


class Name(NamedTuple):
    path: str
    """A name on the Hub, or a folder."""
    config: str | None
    """One that the data set has, or a folder in it (with a slash)."""
    revision: str | None

    @property
    def is_local(self) -> bool:
        return Path(self.path).is_dir()

    @property
    def names_folder(self) -> bool:
        return self.config is not None and "/" in self.config

    @property
    def repo_name(self) -> str:
        """Of rows that name none."""
        return Path(self.path).resolve().name if self.is_local else self.path


def parse(spec: str) -> Name:
    """Split `hub:NAME[:CONFIG][@REVISION]`; the name of a folder that exists is taken as it is."""
    rest = spec.removeprefix(PREFIX)
    if rest and Path(rest).is_dir():
        return Name(rest, None, None)
    rest, _, revision = rest.partition("@")
    path, _, config = rest.partition(":")
    if not path:
        raise CodeparrotError(f'source "{spec}" names no data set; write {PREFIX}NAME[:CONFIG][@REVISION]')
    return Name(path, config or None, revision or None)


def open_hub(spec: str, columns: ColumnNames) -> Source:
    """The train split of a data set, or its only split."""
    name = parse(spec)
    if name.path.startswith(WITHOUT_TEXTS):
        require_columns(["blob_id"], columns, name.path)
    with _readable_errors(spec):
        revision = None if name.is_local else _commit(name)
        options = {"revision": revision, **({"data_dir": name.config} if name.names_folder else {"name": name.config})}
        files = _files(name.path, options)
        parquet = all(file.endswith(PARQUET) for each in files.values() for file in each)
        rows = {} if files and parquet else _rows(name.path, options)
    split = _train_split(name, rows or files)
    facts = {"kind": "hub", "name": name.path, "config": name.config, "revision": revision, "split": split}
    listing = digest(name.path, name.config, split, revision or _state_of_folder(Path(name.path)))
    if not rows:
        return Source(facts, _groups(spec, name.repo_name, files[split], columns), None, listing)
    return Source(facts, _stream(spec, name.repo_name, rows[split], columns, listing), None, listing)


def _state_of_folder(folder: Path) -> str:
    return digest_of_all(digest(path, *state_of(folder / path)) for path in Walk(folder, frozenset()))


def _commit(name: Name) -> str | None:
    # Asked first because it fails at once without a network, where load_dataset goes on trying for half a minute.
    from huggingface_hub import HfApi

    return HfApi().dataset_info(name.path, revision=name.revision).sha


def _files(path: str, options: dict[str, Any]) -> dict[str, list[str]]:
    """The files of each split, as paths or hf://...; `datasets` sees to it that they belong to the data set."""
    import datasets

    builder = datasets.load_dataset_builder(path, **options)
    return {str(split): list(map(str, names)) for split, names in (builder.config.data_files or {}).items()}


def _rows(path: str, options: dict[str, Any]) -> Any:
    import datasets

    return datasets.load_dataset(path, streaming=True, **options)


def _train_split(name: Name, splits: Any) -> str:
    if TRAIN not in splits and len(splits) != 1:
        raise CodeparrotError(f"{name.path} has no train split but {', '.join(splits)}; a corpus is built from a train split")
    return TRAIN if TRAIN in splits else next(iter(splits))


def _groups(spec: str, repo_name: str, files: list[str], columns: ColumnNames) -> Iterator[RowGroup]:
    first_row = 0
    for file in files:
        state = UNREACHABLE if file.startswith(ON_HUB) else state_of(file)  # on the Hub its name holds the commit
        with _readable_errors(spec):
            groups = list(row_groups(file, state, repo_name, columns, first_row))
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
    with _readable_errors(spec):
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
            rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
            yield Rows(listing, repo_name, first_row, rows, present)
            first_row += len(rows)


@contextmanager
def _readable_errors(spec: str) -> Iterator[None]:
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage] (of the client that it uses)

    try:
        yield
    except (OSError, ValueError, RuntimeError, DatasetsError, HTTPError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CodeparrotError(f"cannot read {spec}: {reason} (check the name, your access to it and the network)") from error

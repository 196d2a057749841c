"""The source `hub:NAME[:CONFIG][@REVISION]`: any data set that `datasets` can stream, from the Hub or from a folder.

It is streamed from its beginning, in its own order, and never stored. A data set on the Hub is pinned to the commit that
its revision names at the start; the statistics record it. No code of a data set is run.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.corpus.documents import TRAIN, ColumnNames, Record, Removed, Source
from codeparrot.corpus.tables import record, require_columns
from codeparrot.errors import CodeparrotError

PREFIX = "hub:"
ROWS = 256


class Name(NamedTuple):
    path: str
    """A name on the Hub, or a folder."""
    config: str | None
    revision: str | None

    @property
    def is_local(self) -> bool:
        return Path(self.path).is_dir()

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
    with _readable_errors(spec):
        revision = None if name.is_local else _commit(name)
        split, rows = _load(name, revision)
    facts = {"kind": "hub", "name": name.path, "config": name.config, "revision": revision, "split": split}
    return Source(facts, _stream(spec, name.repo_name, rows, columns), None)


def _commit(name: Name) -> str | None:
    # Asked first because it fails at once without a network, where load_dataset goes on trying for half a minute.
    from huggingface_hub import HfApi

    return HfApi().dataset_info(name.path, revision=name.revision).sha


def _load(name: Name, revision: str | None) -> tuple[str, Any]:
    import datasets

    splits: Any = datasets.load_dataset(name.path, name.config, revision=revision, streaming=True)
    if TRAIN not in splits and len(splits) != 1:
        raise CodeparrotError(f"{name.path} has no train split but {', '.join(splits)}; a corpus is built from a train split")
    split = TRAIN if TRAIN in splits else next(iter(splits))
    return split, splits[split]


class Rows(NamedTuple):
    """Consecutive rows, already fetched."""

    repo_name: str
    first_row: int
    rows: list[dict[str, Any]]
    columns: ColumnNames

    def records(self) -> Iterator[Record | Removed]:
        for number, row in enumerate(self.rows, self.first_row):
            yield record(row, self.columns, self.repo_name, number)


def _stream(spec: str, repo_name: str, dataset: Any, columns: ColumnNames) -> Iterator[Rows]:
    with _readable_errors(spec):
        first_row = 0
        if dataset.column_names:
            wanted = set(dataclasses.astuple(columns))
            require_columns(dataset.column_names, columns, spec)
            dataset = dataset.select_columns([each for each in dataset.column_names if each in wanted])
        for batch in dataset.iter(batch_size=ROWS):
            require_columns(list(batch), columns, spec)
            rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
            yield Rows(repo_name, first_row, rows, columns)
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

"""Data sets that `datasets` can open, from the Hub or from a folder: `hub:NAME[:CONFIG][@REVISION]`.

Parquet, which nearly all data sets are in, is returned as files and read by ranges: entering the middle costs no more than the
beginning. Other kinds are returned as rows and streamed from the beginning. No code of a data set is run. `datasets` says which
files belong to which split; their names on the Hub hold the commit. Of a folder with files of our own kinds, folder.py says it.
"""

import glob
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import HUB, ON_HUB, is_address, is_hub_name, local_folder, path_of, without_credentials
from codeparrot.stream.readers.folder import CONVERTED, PARQUET, DataFiles, NoData, find_data, is_data, known_as
from codeparrot.stream.readers.rows import reason

_BATCH_ROWS = 32


class Name(NamedTuple):
    path: str
    """A name on the Hub, or a folder."""
    config: str | None
    """A configuration of the data set, or a folder in it (with a slash)."""
    revision: str | None

    @property
    def is_local(self) -> bool:
        return Path(self.path).is_dir()

    @property
    def names_folder(self) -> bool:
        return self.config is not None and "/" in self.config


class DataSet(NamedTuple):
    """A data set as `datasets` finds it; nothing has been read yet."""

    builder: Any
    files: dict[str, list[str]]
    """By split, as paths or hf://...; empty if the data set does not consist of files."""
    splits: list[str]

    @property
    def is_parquet(self) -> bool:
        """Whether the data set consists of Parquet files alone."""
        return bool(self.files) and all(file.endswith(PARQUET) for files in self.files.values() for file in files)

    def rows(self, split: str) -> Any:
        """Return a split as a streaming data set of `datasets`."""
        return self.builder.as_streaming_dataset(split=split)


def is_on_hub(name: str) -> bool:
    """Whether a name is meant for the Hub. A name whose parent folder exists is not: it is a mistyped path."""
    if name.startswith(HUB) or is_address(name):
        return name.startswith(HUB)
    could_be_here = path_of(name).exists() or glob.has_magic(name) or is_data(name) or "/" not in name
    return not could_be_here and is_hub_name(name) and local_folder(name) is None


def parse(spec: str) -> Name:
    """Split `[hub:]NAME[:CONFIG][@REVISION]`; the name of an existing folder is taken literally.

    Raises:
        CodeparrotError: the name is empty.
    """
    rest = spec.removeprefix(HUB)
    if is_address(rest):
        raise CodeparrotError(f"{without_credentials(rest)} is an address, and not on the Hub: name it without {HUB}")
    if rest and Path(rest).is_dir():
        return Name(rest, None, None)
    rest, _, revision = rest.partition("@")
    path, _, config = rest.partition(":")
    if not path:
        raise CodeparrotError(f'"{spec}" names no data set; write {HUB}NAME[:CONFIG][@REVISION]')
    return Name(path, config or None, revision or None)


def commit_of(name: Name) -> str | None:
    """Return the commit that the revision names now; None for a folder. Without a network it fails at once.

    Call it within `readable`, which turns its exceptions into errors for the user.
    """
    if name.is_local:
        return None
    from huggingface_hub import HfApi

    return HfApi().dataset_info(name.path, revision=name.revision).sha


def open_data_set(name: Name, revision: str | None) -> DataSet:
    """Find out what a data set consists of. Call it within `readable`, which turns its exceptions into errors for the user."""
    import datasets

    here = _files_here(name)
    if here:
        kind = "parquet" if all(file.endswith(PARQUET) for files in here.values() for file in files) else "json"
        builder = datasets.load_dataset_builder(kind, data_files=here)
    else:
        part: dict[str, Any] = {"data_dir": name.config} if name.names_folder else {"name": name.config}
        builder = datasets.load_dataset_builder(name.path, revision=revision, **part)
    files = {str(split): list(map(str, each)) for split, each in (builder.config.data_files or {}).items()}
    return DataSet(builder, files, list(files) or [str(split) for split in builder.info.splits or {}])


def rows_of(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all rows of a data set in their order.

    In a worker of torch's DataLoader, a streaming data set yields only a share of its rows by itself: those would be missing
    where the worker takes its share of the windows.
    """
    torch = sys.modules.get("torch")
    if torch is None or torch.utils.data.get_worker_info() is None or not hasattr(dataset, "iter"):
        yield from dataset
        return
    for batch in dataset.iter(batch_size=_BATCH_ROWS):
        yield from (dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True))


def _files_here(name: Name) -> dict[str, list[str]]:
    """Return the files of a folder by the splits of `datasets`; none if it holds other kinds of data."""
    if not name.is_local or name.config:
        return {}
    try:
        found = find_data(name.path)
    except NoData:
        return {}
    files = {"validation" if split == "valid" else split: found.by_split[split] for split in found.splits}
    return files or {"train": found.of("train")}


def data_files(spec: str) -> DataFiles:
    """Return the files of a data set by split, each a path or hf://...; `rows_in` reads those that are no data files of ours.

    Raises:
        CodeparrotError: it cannot be reached, or does not consist of files.
    """
    name = parse(spec)
    with readable(spec):
        # Asked first: without a network this fails at once, while `datasets` keeps trying for half a minute.
        data = open_data_set(name, commit_of(name))
    if not any(data.files.values()):
        raise CodeparrotError(f"{spec} does not consist of files; name another data set ({CONVERTED})")
    return DataFiles(spec, {known_as(split): each for split, each in data.files.items()})


def rows_in(file: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file, a path or hf://..., that `datasets` alone can read: text, CSV, Arrow and others.

    It is read from its beginning on, as far as rows are taken; from the Hub in blocks, of 10 MB in the case of text.

    Raises:
        CodeparrotError: it cannot be read.
    """
    import datasets
    from huggingface_hub import HfFileSystem

    with readable(file):
        where, inside, revision = str(Path(file).parent), Path(file).name, None
        if file.startswith(ON_HUB):
            place: Any = HfFileSystem().resolve_path(file)
            where, inside, revision = place.repo_id, place.path_in_repo, place.revision
        only: Any = {"train": [inside]}
        yield from rows_of(datasets.load_dataset(where, data_files=only, split="train", revision=revision, streaming=True))


@contextmanager
def readable(spec: str) -> Iterator[None]:
    """Turn exceptions of `datasets` and the Hub into a CodeparrotError that names the data set."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage] (of the client that it uses)
    from zstandard import ZstdError

    try:
        yield
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, ZstdError, DatasetsError, HTTPError) as error:
        message = f"cannot read {spec}: {reason(error)} (check the name, your access to it and the network)"
        raise CodeparrotError(message) from error
    except StopIteration as error:  # `datasets` looks for the first row of a file that was cut before it
        raise CodeparrotError(f"cannot read {spec}: it has no rows, or a file of it was cut; fetch it again") from error

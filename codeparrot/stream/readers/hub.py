"""Data sets that `datasets` can open, from the Hub or from a folder: `hub:NAME[:CONFIG][@REVISION]`.

Parquet, which nearly all data sets are in, is returned as files and read by ranges: entering the middle costs no more than the
beginning. Other kinds are returned as rows and streamed from the beginning. No code of a data set is run. `datasets` says which
files belong to which split; their names on the Hub hold the commit.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from codeparrot.errors import CodeparrotError
from codeparrot.location import HUB
from codeparrot.stream.readers.folder import PARQUET
from codeparrot.stream.readers.rows import reason


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


def parse(spec: str) -> Name:
    """Split `[hub:]NAME[:CONFIG][@REVISION]`; the name of an existing folder is taken literally.

    Raises:
        CodeparrotError: the name is empty.
    """
    rest = spec.removeprefix(HUB)
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

    part: dict[str, Any] = {"data_dir": name.config} if name.names_folder else {"name": name.config}
    builder = datasets.load_dataset_builder(name.path, revision=revision, **part)
    files = {str(split): list(map(str, each)) for split, each in (builder.config.data_files or {}).items()}
    return DataSet(builder, files, list(files) or [str(split) for split in builder.info.splits or {}])


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

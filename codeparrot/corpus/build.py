"""`codeparrot corpus build`: raw files to a clean corpus in Parquet. The phases of the work are in pipeline.py."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from codeparrot.corpus import registry
from codeparrot.corpus.cluster.executor import Cluster, ClusterSettings
from codeparrot.corpus.documents import ColumnNames
from codeparrot.corpus.filters.thresholds import Thresholds
from codeparrot.corpus.licenses.rules import LicenseSettings
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.corpus.notebooks import NotebookSettings
from codeparrot.corpus.settings import PYTHON_SUFFIXES, Settings, all_stages, checked_caps
from codeparrot.errors import CodeparrotError
from codeparrot.languages.chosen import checked
from codeparrot.location import is_address
from codeparrot.result import Result
from codeparrot.stream.cores import available_cores
from codeparrot.stream.losses import OnError

COLUMNS = ColumnNames()
FILTERS = Thresholds()
LICENSES = LicenseSettings()
NOTEBOOKS = NotebookSettings()
NEAR_DUPLICATES = NearDuplicates()
CLUSTER = ClusterSettings()

Function = TypeVar("Function", bound=Callable[..., Result])


def with_stages(function: Function) -> Function:
    """Show the settings of every stage in the signature instead of **stages, so that they become flags of the command."""
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    place = [each.name for each in parameters].index("near_duplicates") + 1
    stages = registry.stages()
    parameters[place:place] = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=stage(), annotation=stage)
        for name, stage in stages.items()
    ]
    function.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
    function.__annotations__ = {**function.__annotations__, **stages}
    return function


@with_stages
def build(
    source: list[str],
    output: str,
    max_bytes: int = 0,
    valid_fraction: float = 0.01,
    shard_bytes: int = 100_000_000,
    seed: int = 0,
    workers: int = 0,
    overwrite: bool = False,
    languages: tuple[str, ...] = (),
    suffixes: tuple[str, ...] = (),
    columns: ColumnNames = COLUMNS,
    filters: Thresholds = FILTERS,
    licenses: LicenseSettings = LICENSES,
    notebooks: NotebookSettings = NOTEBOOKS,
    near_duplicates: NearDuplicates = NEAR_DUPLICATES,
    caps: dict[str, int] | None = None,
    keep_removed: int = 20,
    on_error: OnError = "stop",
    executor: Literal["local", "slurm", "ray"] = "local",
    cluster: ClusterSettings = CLUSTER,
    **stages: Any,
) -> Result:
    """Turn raw source files into a corpus: filtered, without duplicates, split by repository, in Parquet shards.

    The corpus depends only on the sources and on these settings; the number of workers does not change a byte. Give the same
    command again after an interruption, and the build goes on where it was.

    Args:
        source: One or several of: python (the standard library and the distributions installed beside this interpreter), a
            folder, git:FOLDER[@REVISION] (the tracked files of a repository or of all below a folder), archives:FOLDER or a
            file or glob of tar archives, zip archives and wheels, JSON lines or Parquet files (a glob in quotes),
            hub:NAME[:CONFIG][@REVISION] (a data set on the Hub or in a folder). Folders, archives and tables may also lie at
            addresses, s3://, gs://, az:// (a folder without source files is one of tables), and single files at https://.
        output: Folder to write; it appears when it is complete. At an address (s3://...) it is made in .codeparrot-upload here
            first, and refused by all readers until all of it is there.
        max_bytes: For a sample, stop after this many bytes of distinct text that passed the filters (0: read all); near
            duplicates are removed afterwards. Files on disk, JSON lines files and Parquet row groups are read in a hash order,
            Hub data sets from their beginning, several sources in turns.
        valid_fraction: Fraction of the repositories set aside for validation, at least one repository (0: no valid split).
            Where each is too large for that, or there is one only, the fraction of the bytes, by folders and files.
        shard_bytes: Approximate bytes of text in a shard.
        seed: Determines the order of the documents, the sample and the split.
        workers: Processes that read, filter and write (0: one per core).
        overwrite: Replace the corpus in `output`, once the new one is complete.
        languages: Keep only documents in these, such as python c++ shell; all: every programming and markup language, but data
            (JSON, YAML, CSV, XML, TOML, ...) only where it is named too. Not given: documents in any language stay.
        suffixes: Endings of the file names to read in folders, repositories and archives (not given: those of --languages, or
            else .py).
        columns: Where tables keep what the corpus needs.
        filters: What a file must satisfy to enter the corpus.
        licenses: Which licences a file may have, and whose files are left out.
        notebooks: What becomes of Jupyter notebooks.
        near_duplicates: When two documents count as near duplicates; one of them is kept.
        caps: Most bytes of a language in the corpus, such as {json: 1000000000}, before secrets are replaced; which of its
            documents stay is drawn by a hash.
        keep_removed: Removed files to show for each reason, in removed/samples.parquet.
        on_error: What becomes of tables that are damaged: stop ends with their place, skip leaves out the row group, the file,
            or the rest of a packed one, and counts it. Single files, archives and rows that are damaged are always left out.
        executor: Where the work is done: on this machine by `workers` processes, or on a SLURM or Ray cluster (with the extra
            codeparrot[cluster]); the output must then be on a disk that all its nodes share.
        cluster: What to ask of the cluster.
        stages: Settings of the stages of cleaning, by their names in STAGES (registry.py).
    """
    if not source:
        raise CodeparrotError("no source is given; --source python takes the sources installed with this interpreter")
    if not 0 <= valid_fraction < 1:
        raise CodeparrotError(f"valid_fraction is {valid_fraction}; it is a fraction of the repositories, from 0 to below 1")
    for name, value, least in (
        ("max_bytes", max_bytes, 0),
        ("shard_bytes", shard_bytes, 1),
        ("workers", workers, 0),
        ("keep_removed", keep_removed, 0),
    ):
        if value < least:
            raise CodeparrotError(f"{name} is {value}; it must be at least {least}")
    if workers > 1024:
        raise CodeparrotError(f"workers is {workers}; it must be at most 1024")
    chosen = checked(languages)
    filters.check()
    licenses.check()
    notebooks.check()
    near_duplicates.check()
    capped = checked_caps(caps or {})
    cleaning = all_stages(stages)
    for stage in cleaning.values():
        stage.check()

    from codeparrot.corpus.pipeline import make
    from codeparrot.corpus.report.command import summary
    from codeparrot.corpus.workers import Workers

    settings = Settings(
        source=source,
        max_bytes=max_bytes,
        valid_fraction=valid_fraction,
        shard_bytes=shard_bytes,
        seed=seed,
        languages=chosen,
        suffixes=suffixes or (() if chosen else PYTHON_SUFFIXES),
        columns=columns,
        filters=filters,
        licenses=licenses,
        notebooks=notebooks,
        near_duplicates=near_duplicates,
        caps=capped,
        stages=cleaning,
        keep_removed=keep_removed,
        on_error=on_error,
    )
    place = output if is_address(output) else Path(output)
    if executor == "local":
        with Workers(workers or available_cores()) as pool:
            statistics = make(settings, place, pool, overwrite)
    else:
        cluster.check(executor)
        statistics = make(settings, place, Cluster(executor, cluster), overwrite)
    return Result("\n".join(summary(output, statistics)), {"output": output, **statistics})

"""What sources at addresses cost: memory of a listing, and the disk of a build that was killed."""

import multiprocessing
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from codeparrot.corpus.sources import spool
from codeparrot.corpus.sources.listing import digest
from codeparrot.corpus.sources.opening import open_source
from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import listing, remote
from tests.corpus.samples import make, write_repositories
from tests.corpus.sources.test_elsewhere import READING


@pytest.mark.slow
def test_what_a_killed_worker_was_reading_goes_when_the_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = write_repositories(tmp_path / "raw", repositories=2, files=2)
    work = tmp_path / ".corpus.partial" / "work"
    names = (f"{spool.UNFINISHED}1-x.zip", f"{spool.UNFINISHED}abc.zip", "y.zip")
    seen: list[list[str]] = []

    def dies(*_: object) -> None:
        (work / "spool").mkdir(exist_ok=True)
        seen.append(sorted(each.name for each in (work / "spool").iterdir()))
        for name in names:
            (work / "spool" / name).write_bytes(bytes(1000))
        (work / "read" / "done").mkdir(parents=True, exist_ok=True)
        raise CodeparrotError("dies")

    monkeypatch.setattr("codeparrot.corpus.pipeline._read", dies)
    for _ in range(2):
        with pytest.raises(CodeparrotError, match=r"^dies$"):
            make(here, tmp_path / "corpus")
    assert seen == [[], ["y.zip"]]


def cost_of_a_listing(total: int) -> tuple[int, int]:
    """Return the number of files that a listing leaves to be read, of twice as many, and the most bytes that it takes."""

    def pages(_: str) -> Iterator[tuple[str, remote.Info]]:
        for number in range(total):
            name = f"organisation-name-{number // 40:06d}/src/package/module/file_name_{number:08d}.py"
            yield name, remote.Info(5000, f'"{digest(name)}"')
            yield f"{name}.png", remote.Info(5000, f'"{digest(name)}"')

    listing.walk = pages
    tracemalloc.start()
    source = open_source("s3://bucket/code", READING)
    return source.facts["files"], tracemalloc.get_traced_memory()[1]


@pytest.mark.slow
def test_a_listing_takes_a_kilobyte_for_each_file_to_be_read() -> None:
    total = 20_000
    # In a new process: Python's table of names grows by leaps, of a size that depends on what a process has read before.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        pool.submit(cost_of_a_listing, 1).result()  # what is imported now is not counted below
        files, peak = pool.submit(cost_of_a_listing, total).result()
    assert files == total and peak < 1000 * total

"""A cluster for the tests of this folder. Each worker of pytest-xdist starts its own."""

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, what_is_missing


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two idle nodes whose SLURM signals all processes of a task."""
    yield from _started(tmp_path_factory, "linuxproc")


@pytest.fixture(scope="session")
def reserved_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two idle nodes whose SLURM signals only the processes of a task that share its process group."""
    yield from _started(tmp_path_factory, "pgid")


def _started(tmp_path_factory: pytest.TempPathFactory, proctrack: str) -> Iterator[Cluster]:
    missing = what_is_missing()
    if missing:
        # Continuous integration installs it: a skip there would hide that nothing was tested.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    with Cluster(tmp_path_factory.mktemp("slurm"), proctrack) as started:
        yield started

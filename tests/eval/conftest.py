"""The sandbox, for the tests of this folder."""

import os
from collections.abc import Iterator

import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.eval.sandbox.executor import Executor, Limits


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """Two workers with a tight CPU limit: several tests use it up."""
    try:
        with Executor(Limits(cpu_seconds=1.0, wall_seconds=3.0), num_workers=2) as started:
            yield started
    except CodeparrotError as error:
        # Continuous integration installs bubblewrap: a skip there would hide that nothing was tested.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))

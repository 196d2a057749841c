"""A corpus built on a real SLURM cluster equals that of one machine, byte for byte."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus.planted import documents, pairs, write_rows
from tests.corpus.samples import COMMAND, digests, make
from tests.slurm.cluster import Cluster

ON_SLURM = ["--executor", "slurm", "--cluster.partition", "main", "--cluster.jobs", "2", "--cluster.memory", "1"]


@pytest.mark.slow
def test_the_corpus_is_that_of_one_machine(cluster: Cluster, tmp_path: Path) -> None:
    planted = [*documents(200, tokens=120), *(each for level in (0.7, 0.8, 0.9) for pair in pairs(level, 20) for each in pair)]
    source = write_rows(tmp_path / "rows.jsonl", planted)
    make(source, tmp_path / "one" / "corpus")
    command = [*COMMAND, "corpus", "build", "--source", source, "--output", tmp_path / "many" / "corpus", *ON_SLURM]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    environment = {**os.environ, "PATH": path, "SLURM_CONF": str(cluster.folder / "slurm.conf")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr + "".join(file.read_text(errors="replace") for file in tmp_path.rglob("*.out"))
    assert digests(tmp_path / "many" / "corpus") == digests(tmp_path / "one" / "corpus")
    assert [path.name for path in (tmp_path / "many").iterdir()] == ["corpus"]

"""Builds on other executors keep the same documents, byte for byte."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from datatrove.executor import LocalPipelineExecutor
from hypothesis import given
from hypothesis import strategies as st

from codeparrot.corpus.cluster.executor import Cluster, ClusterSettings
from codeparrot.corpus.cluster.on_ray import say_when_no_node_fits
from codeparrot.corpus.cluster.steps import chained
from codeparrot.corpus.duplicates.choice import KEPT, band_parts, choose
from codeparrot.corpus.duplicates.pairs import EXACT, Documents, find_pairs
from codeparrot.corpus.minhash.bands import NearDuplicates
from codeparrot.errors import CodeparrotError
from tests.corpus.duplicates.test_near_duplicates import Planted, candidate, segments_of
from tests.corpus.planted import code, documents, pairs, words, write_rows
from tests.corpus.samples import digests, make

FEW_BANDS = NearDuplicates(permutations=16)


class OneMachine(Cluster):
    """datatrove's steps on its local executor."""

    def __init__(self) -> None:
        super().__init__("slurm", ClusterSettings(partition="none", jobs=4))

    def _run_step(self, step: Any, tasks: int, folder: Path) -> None:
        LocalPipelineExecutor(pipeline=[step], tasks=tasks, workers=1, logging_dir=str(folder / "logs")).run()


@pytest.mark.slow
def test_of_20_000_documents_the_same_are_kept(tmp_path: Path) -> None:
    generator, planted = random.Random(0), []
    while len(planted) < 20_000:
        # Families whose members differ increasingly from the first: similarities from 1 down to about 0.4.
        tokens = words(generator, 60)
        for _ in range(generator.randrange(1, 8)):
            planted.append(Planted(f"org/r{len(planted) % 500}", f"m{len(planted)}.py", code(tokens)))
            tokens[-generator.randrange(1, 12) :] = words(generator, generator.randrange(1, 12))
    planted = planted[:20_000]
    settings = NearDuplicates()
    segments = segments_of(tmp_path, [candidate(each) for each in planted], [3000, 1, 7000], settings)
    found = Documents(segments)
    tasks = band_parts(len(found), tmp_path / "duplicates", settings)
    for task in tasks:
        find_pairs(task, segments, settings)
    exact = [task.output for task in tasks if task.band == EXACT]
    expected, clusters = choose(found, [task.output for task in tasks])
    verdicts, same_clusters = choose(found, exact + OneMachine().near_pairs(segments, settings, tmp_path / "buckets" / "pairs"))
    assert 5_000 < (expected == KEPT).sum() < 15_000
    assert np.array_equal(verdicts, expected)
    assert np.array_equal(clusters.number, same_clusters.number)


@pytest.mark.slow
@pytest.mark.parametrize("in_parts", [False, True])
def test_a_build_by_steps_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: bool) -> None:
    """In parts: as of more documents than a rank of datatrove's stages has memory for."""
    if in_parts:
        monkeypatch.setattr("codeparrot.corpus.cluster.executor.DOCUMENTS_A_RANK", 50)
        monkeypatch.setattr("codeparrot.corpus.duplicates.choice.PART_DOCUMENTS", 60)
        monkeypatch.setattr("codeparrot.corpus.cluster.steps.VerifyBucket.run", lambda *_: pytest.fail("datatrove's stage ran"))
    source = write_rows(
        tmp_path / "rows.jsonl", [*documents(60, tokens=100), *(each for pair in pairs(0.8, 20) for each in pair)]
    )
    make(source, tmp_path / "local" / "corpus")
    monkeypatch.setattr("codeparrot.corpus.build.Cluster", lambda *_: OneMachine())
    make(source, tmp_path / "steps" / "corpus", executor="slurm", cluster=ClusterSettings(partition="x"))
    assert digests(tmp_path / "steps" / "corpus") == digests(tmp_path / "local" / "corpus")


@pytest.mark.slow
def test_units_of_which_nothing_is_kept_are_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example, four repositories in a row with nothing but small files."""
    for number in range(4):
        write_rows(tmp_path / f"small{number}.jsonl", [Planted("org/small", "a.py", "x = 1\n")])
    sources = [*(tmp_path / f"small{number}.jsonl" for number in range(4)), write_rows(tmp_path / "rows.jsonl", documents(20))]
    make(sources, tmp_path / "local" / "corpus")
    monkeypatch.setattr("codeparrot.corpus.build.Cluster", lambda *_: OneMachine())
    make(sources, tmp_path / "steps" / "corpus", executor="slurm", cluster=ClusterSettings(partition="x"))
    assert digests(tmp_path / "steps" / "corpus") == digests(tmp_path / "local" / "corpus")


class Failing(OneMachine):
    """All tasks fail, and their logs say why."""

    def _run_step(self, step: Any, tasks: int, folder: Path) -> None:
        (folder / "logs" / "logs").mkdir(parents=True)
        (folder / "logs" / "logs" / "task_00000.log").write_text("no module named numpy", encoding="utf-8")
        raise CodeparrotError(f"{tasks} of {tasks} tasks failed on the cluster; see {folder / 'logs'}")


def test_the_logs_that_a_failed_build_names_are_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, output = write_rows(tmp_path / "rows.jsonl", documents(20)), tmp_path / "there" / "corpus"
    on_cluster: Any = {"executor": "slurm", "cluster": ClusterSettings(partition="x")}
    monkeypatch.setattr("codeparrot.corpus.build.Cluster", lambda *_: Failing())
    for _ in range(2):
        with pytest.raises(CodeparrotError, match="1 of 1 tasks failed") as caught:
            make(source, output, **on_cluster)
        logs = Path(str(caught.value).rpartition(" ")[2])
        assert (logs / "logs" / "task_00000.log").read_text(encoding="utf-8") == "no module named numpy"
    make(source, output)
    assert [path.name for path in output.parent.iterdir()] == ["corpus"]


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Callable[..., Any]]:
    """Builds on a Ray cluster of this machine."""
    # At Ray's default niceness its workers would wait for all other tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield partial(make, executor="ray", near_duplicates=FEW_BANDS)
    ray.shutdown()


@pytest.mark.slow
def test_a_build_on_ray_has_the_same_bytes(tmp_path: Path, on_ray: Callable[..., Any]) -> None:
    source = write_rows(tmp_path / "rows.jsonl", documents(60, tokens=100))
    on_ray(source, tmp_path / "ray" / "corpus", cluster=ClusterSettings(jobs=2, memory=1))
    make(source, tmp_path / "local" / "corpus", near_duplicates=FEW_BANDS)
    assert digests(tmp_path / "ray" / "corpus") == digests(tmp_path / "local" / "corpus")


@dataclass(frozen=True)
class Chore:
    """A task that succeeds, raises, or loses its process once or every time."""

    output: Path
    behaviour: str = "holds"


def work(chore: Chore) -> None:
    once = chore.output.with_suffix(".died")
    if chore.behaviour == "dies" or (chore.behaviour == "dies once" and not once.exists()):
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if chore.behaviour == "raises":
        raise ValueError("a file is not as it should be")
    chore.output.touch()


def run(behaviours: list[str], folder: Path) -> None:
    """Run chores on Ray; those that can succeed do."""
    (folder / "phase").mkdir()
    chores = [Chore(folder / "phase" / str(number), each) for number, each in enumerate(behaviours)]
    try:
        list(Cluster("ray", ClusterSettings(jobs=2, memory=1)).map(work, chores))
    finally:
        assert [each.output.exists() for each in chores] == [each in ("holds", "dies once") for each in behaviours]


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_task_whose_process_died_is_done_again(tmp_path: Path) -> None:
    run(["holds", "dies once", "holds"], tmp_path)


@pytest.mark.usefixtures("on_ray")
def test_a_failed_task_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match=r"1 of 4 tasks failed on the cluster; see (\S+)") as caught:
        run(["holds", "raises", "holds", "holds"], tmp_path)
    logs = Path(str(caught.value).rpartition(" ")[2])
    assert "a file is not as it should be" in (logs / "task_00001.log").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_task_that_always_dies_ends_the_build(tmp_path: Path) -> None:
    with pytest.raises(CodeparrotError, match=r"3 attempts: .*status -9"):
        run(["dies", "holds"], tmp_path)


@pytest.mark.usefixtures("on_ray")
def test_a_cluster_without_a_node_that_fits_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    say_when_no_node_fits(cpus=2, memory=1)
    assert not capsys.readouterr().err
    say_when_no_node_fits(cpus=1, memory=10_000)
    assert "no node of the Ray cluster has 1 cores and 10,000 GB" in capsys.readouterr().err


@given(st.lists(st.integers(2, 5), max_size=6))
def test_neighbours_become_the_groups_that_they_came_from(sizes: list[int]) -> None:
    members = np.random.default_rng(0).permutation(sum(sizes))
    groups = np.split(members, np.cumsum(sizes)[:-1]) if sizes else []
    neighbours = np.array([pair for each in groups for pair in pairwise(each)], np.int64).reshape(-1, 2)
    numbers, places = chained(neighbours)
    assert [numbers[start:end].tolist() for start, end in places] == [each.tolist() for each in groups]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({}, "--cluster.partition"), ({"partition": "x", "jobs": 0}, "jobs"), ({"partition": "x", "cpus": 0}, "cpus")],
)
def test_settings_under_which_nothing_can_run_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CodeparrotError, match=message):
        ClusterSettings(**settings).check("slurm")


def test_without_slurm_the_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    rows, cluster = write_rows(tmp_path / "r.jsonl", documents(3)), ClusterSettings(partition="p")
    with pytest.raises(CodeparrotError, match="works on a SLURM node"):
        make(rows, tmp_path / "x", executor="slurm", cluster=cluster)

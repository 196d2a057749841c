"""Runs the tasks of a build on a SLURM or a Ray cluster, by datatrove's executors.

The build itself stays where it was started, plans the phases and waits for their tasks. The tasks are those of a build on one
machine, so the corpus is the same, byte for byte. The folder beside the output must be on a disk that all nodes share. Give the
same command again after an interruption, and the build goes on.
"""

import pickle
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from codeparrot.corpus.minhash.bands import NearDuplicates, bands_of
from codeparrot.corpus.workers import near_pairs_in_parts
from codeparrot.errors import CodeparrotError

if TYPE_CHECKING:
    from codeparrot.corpus.segments import Segment

Kind = Literal["slurm", "ray"]
Task = TypeVar("Task", bound="HasOutput")

ARRAY = 1000
"""Elements a SLURM array may have unless its administrator allows more."""
WAVE = 64
"""Tasks handed out at once for each of `jobs`."""
DOCUMENTS_A_RANK = 20_000_000
"""With 40 bytes for each that has a duplicate in a band, this fits into the least memory that a job may have."""
POLL_SECONDS = 1.0
GRACE_SECONDS = 30.0
"""How long after a job has ended its files may take to become visible."""


class HasOutput(Protocol):
    @property
    def output(self) -> Path:
        """Exists once the task is done; two folders below the work folder."""
        ...


@dataclass(frozen=True)
class ClusterSettings:
    """What to ask of a cluster (`--executor slurm` or `ray`)."""

    partition: str = ""
    """SLURM partition (`sinfo` lists them)."""
    jobs: int = 100
    """Elements of a job array, or Ray workers, that share the tasks of a phase: at most this many run at once."""
    cpus: int = 1
    """Cores for each; a task uses one."""
    memory: int = 4
    """GB for each core."""
    time: str = "24:00:00"
    """Longest time that one may take, in SLURM's notation."""
    qos: str = ""
    """SLURM quality of service."""
    setup: str = ""
    """Shell command that prepares a SLURM job, e.g. "module load gcc"; the build's interpreter is already on the path."""
    address: str = ""
    """Address of the Ray cluster (empty: the cluster of this node). No cluster is started: Ray listens on all interfaces."""

    def check(self, kind: Kind) -> None:
        """Raise CodeparrotError if nothing can run with these settings."""
        if kind == "slurm" and not self.partition:
            raise CodeparrotError("--executor slurm needs --cluster.partition (sinfo lists them)")
        for name, value, most in (("jobs", self.jobs, ARRAY), ("cpus", self.cpus, 1024), ("memory", self.memory, 1 << 20)):
            if not 1 <= value <= most:
                raise CodeparrotError(f"cluster.{name} is {value}; it must be 1 to {most:,}")


class Cluster:
    """Runs tasks on a cluster.

    Args:
        kind: slurm or ray.
        settings: what to ask for.
    """

    def __init__(self, kind: Kind, settings: ClusterSettings) -> None:
        self.kind = kind
        self.settings = settings
        self._waves = 0

    def map(self, function: Callable[[Task], None], work: Iterable[Task]) -> Generator[None, None, None]:
        """Run the function on every task that has no output yet; yield once per task, in order."""
        waiting = iter(work)
        while wave := list(islice(waiting, self.settings.jobs * WAVE)):
            missing = [task for task in wave if not task.output.exists()]
            if missing:
                self._run_wave(function, missing)
            yield from (None for _ in wave)

    def near_pairs(self, segments: "list[Segment]", settings: NearDuplicates, folder: Path) -> list[Path]:
        """Write the pairs of near duplicates and return their files.

        datatrove's bucketed stages find them, a rank for each band in the memory of which all its duplicates must be. Of more
        than DOCUMENTS_A_RANK documents, the tasks of a build on one machine find the same ones.
        """
        from codeparrot.corpus.cluster.steps import VerifyBucket, WriteBuckets, merge_buckets

        if sum(map(len, segments)) > DOCUMENTS_A_RANK:
            return near_pairs_in_parts(self.map, segments, settings, folder)
        outputs = [folder / f"bucket-{band:04d}.npy" for band in range(bands_of(settings).number)]
        if all(file.exists() for file in outputs):
            return outputs
        place = self._new_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        steps = [
            (WriteBuckets(segments, settings, str(place / "signatures")), min(len(segments), self.settings.jobs)),
            (merge_buckets(place / "signatures", place / "merged", settings), len(outputs)),
            (VerifyBucket(segments, settings, str(place / "merged"), list(map(str, outputs))), len(outputs)),
        ]
        for number, (step, ranks) in enumerate(steps):
            self._run_step(step, ranks, place / str(number))
        shutil.rmtree(place)
        return outputs

    def _run_wave(self, function: Callable[[Task], None], tasks: list[Task]) -> None:
        from codeparrot.corpus.cluster.steps import RunTask

        folder = self._new_folder(tasks[0].output.parent.parent)
        for number, each in enumerate([function, *tasks]):
            (folder / f"{number:06d}.pickle").write_bytes(pickle.dumps(each))
        self._run_step(RunTask(str(folder)), len(tasks), folder)
        shutil.rmtree(folder)

    def _run_step(self, step: Any, tasks: int, folder: Path) -> None:
        """Run a datatrove step with one rank per task, and wait until all are done."""
        from datatrove.utils.logging import logger

        logger.remove()  # it writes to the terminal; the tasks write to files
        executor = self._slurm(step, tasks, folder) if self.kind == "slurm" else self._ray(step, tasks, folder)
        try:
            executor.run()
        except FileNotFoundError as error:
            raise CodeparrotError(f"there is no {error.filename} here; --executor slurm works on a SLURM node") from error
        except subprocess.CalledProcessError as error:
            raise CodeparrotError(f"sbatch refused the job (exit status {error.returncode}, reason above)") from error
        _wait(executor, _is_running if self.kind == "slurm" else lambda _: False, folder)

    def _new_folder(self, work: Path) -> Path:
        self._waves += 1
        # A name that no earlier start of this build used: jobs of that start may still run.
        folder = work / "cluster" / f"{self._waves:04d}-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        return folder

    def _slurm(self, step: Any, tasks: int, folder: Path) -> Any:
        from codeparrot.corpus.cluster.steps import Slurm

        settings = self.settings
        return Slurm(
            pipeline=[step],
            tasks=tasks,
            tasks_per_job=-(-tasks // settings.jobs),
            time=settings.time,
            partition=settings.partition,
            cpus_per_task=settings.cpus,
            mem_per_cpu_gb=settings.memory,
            qos=settings.qos,
            job_name="codeparrot-corpus",
            env_command="\n".join(filter(None, [settings.setup, f'export PATH="{Path(sys.executable).parent}:$PATH"'])),
            logging_dir=str(folder / "logs"),
        )

    def _ray(self, step: Any, tasks: int, folder: Path) -> Any:
        try:
            from codeparrot.corpus.cluster.on_ray import Ray, connect
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            raise CodeparrotError("--executor ray needs Ray; pip install 'codeparrot[ray]'") from error
        settings = self.settings
        connect(settings.address)
        return Ray(
            pipeline=[step],
            tasks=tasks,
            tasks_per_job=-(-tasks // settings.jobs),
            cpus_per_task=settings.cpus,
            mem_per_cpu_gb=settings.memory,
            logging_dir=str(folder / "logs"),
        )


def _wait(executor: Any, is_running: Callable[[str], bool], folder: Path) -> None:
    patience = GRACE_SECONDS
    while missing := executor.get_incomplete_ranks(skip_completed=True):
        if not is_running(getattr(executor, "job_id", "")):
            patience -= POLL_SECONDS
            if patience <= 0:
                raise CodeparrotError(f"{len(missing)} of {executor.tasks} tasks failed on the cluster; see {folder / 'logs'}")
        time.sleep(POLL_SECONDS)


def _is_running(job: str) -> bool:
    listed = subprocess.run(["squeue", "--noheader", "--jobs", str(job)], capture_output=True, text=True, check=False)
    return bool(listed.stdout.strip())

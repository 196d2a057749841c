"""A real SLURM cluster of two logical nodes on this host, for the duration of a test session.

One folder holds everything: configuration, state, logs, pid files. The SLURM_CONF in their environment, which jobs inherit,
identifies its processes; when it stops, none of them is left. It starts in 2 s and stops in 1 s.

The nodes share the host's name and its address, so `hostname` is the same on both and their names do not resolve: jobs set
MASTER_ADDR=127.0.0.1.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "sinfo")
NODES = ("n1", "n2")
ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")
STARTING_SECONDS = 30.0

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
MpiDefault=none
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
KillWait=60
InactiveLimit=0
MinJobAge=3600
FirstJobId={first_job}
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket=2 ThreadsPerCore=1 RealMemory=4096 State=UNKNOWN"
)


def what_is_missing() -> str | None:
    """Return why no cluster can start here, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    if missing:
        return f"{', '.join(missing)} not installed (.ci/packages installs slurm-wlm)"
    return None if os.geteuid() == 0 else "a SLURM cluster for tests is started as root"


class Cluster:
    """Two nodes of two cores. Use as a context manager.

    Args:
        folder: an empty folder for everything it writes.
        proctrack: how SLURM finds the processes to signal: `linuxproc` signals all descendants of a task; `pgid` signals
            the task's process group alone and so misses what `accelerate launch` starts, as clusters with `cgroup` do.
    """

    def __init__(self, folder: Path, proctrack: str = "linuxproc") -> None:
        self.folder = folder
        self._configuration = folder / "slurm.conf"
        self._environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(self._configuration)}
        for name in list(self._environment):
            # Variables set by a surrounding job do not concern this cluster.
            if name.startswith(("SLURM_", "SBATCH_")) and name != "SLURM_CONF":
                del self._environment[name]
        controller_port, *ports = _free_ports(1 + len(NODES))
        host = socket.gethostname().partition(".")[0]
        nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports, strict=True)]
        for part in ("state", "log", "spool"):
            (folder / part).mkdir()
        text = CONFIGURATION.format(
            host=host,
            folder=folder,
            controller_port=controller_port,
            proctrack=proctrack,
            # Jobs' ports follow from job numbers: those of two clusters on one host must not collide.
            first_job=controller_port * 100 % 60_000 + 1,
            nodes="\n".join(nodes),
        )
        self._configuration.write_text(text, encoding="utf-8")

    def __enter__(self) -> "Cluster":
        try:
            self.run("slurmctld")
            for node in NODES:
                self.start_node(node)
            self.until(lambda: self.idle_nodes() == len(NODES), STARTING_SECONDS, lambda: "both nodes are idle")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(
        self, *command: str, check: bool = True, folder: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> str:
        """Run a SLURM command against this cluster and return its output."""
        done = subprocess.run(
            command,
            env={**self._environment, **(settings or {})},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{self._log()}"
        return done.stdout

    def submit(self, *arguments: str | Path, folder: Path, **environment: str) -> int:
        """Run sbatch in `folder`, with extra environment variables, and return the job's number."""
        return int(self.run("sbatch", "--parsable", *map(str, arguments), folder=folder, settings=environment))

    def state(self, job: int | str) -> str:
        """Return the state of a job: PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, COMPLETING, ..."""
        return self.fact(job, "JobState")

    def fact(self, job: int | str, name: str) -> str:
        """Return one value of `scontrol show job`, e.g. Restarts, ExitCode, StdOut."""
        shown = self.run("scontrol", "show", "job", str(job))
        found = re.search(rf"\b{name}=(\S+)", shown)
        assert found, shown
        return found[1]

    def output(self, job: int | str) -> str:
        """Return a job's output so far."""
        path = Path(self.fact(job, "StdOut"))
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def wait(self, job: int | str, *states: str, seconds: float = 180.0) -> str:
        """Wait until a job is in one of the states, and return it. A job that ends in another state fails the test."""

        def there() -> bool:
            state = self.state(job)
            assert state in states or state not in ENDS, self.report(job)
            return state in states

        self.until(there, seconds, lambda: f"job {job} is {states}\n{self.report(job)}")
        return self.state(job)

    def until(self, condition: Callable[[], bool], seconds: float, what: Callable[[], str]) -> None:
        """Wait until a condition holds; `what` names it."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what()}\n{self._log()}"
            time.sleep(0.1)

    def start_again(self, job: int, wait: bool = True) -> None:
        """Start a requeued job. SLURM would leave it in the queue for two minutes."""
        self.wait(job, "PENDING")
        # Nodes refuse a job for a second or two after ending it ("Job credential revoked").
        self.run("scontrol", "update", f"jobid={job}", "StartTime=now+3")
        if wait:
            self.wait(job, "RUNNING")

    def report(self, job: int | str) -> str:
        """Return the logs to read when a test fails."""
        return f"{self.run('scontrol', 'show', 'job', str(job), check=False)}\n{self.output(job)[-5000:]}"

    def idle_nodes(self) -> int:
        return int(self.run("sinfo", "--noheader", "--states=idle", "--responding", "--Format=Nodes", check=False).strip() or 0)

    def start_node(self, name: str) -> None:
        self.run("slurmd", "-N", name)

    def kill_node(self, name: str) -> None:
        """End everything on a node at once, as in a power cut, and tell SLURM, which else would notice at SlurmdTimeout."""
        log = str(self.folder / "log" / f"slurmd-{name}.log")
        for process, environment in self._processes():
            # SLURM's own processes on the node write its log; jobs' processes have its name in their environment.
            if f"SLURMD_NODENAME={name}" in environment or log in _open_files(process):
                _kill(process)
        self.run("scontrol", "update", f"nodename={name}", "state=down", "reason=test")

    def revive_node(self, name: str) -> None:
        """Start a node that was killed; SLURM takes it back by itself (ReturnToService)."""
        self.start_node(name)
        self.until(lambda: self.idle_nodes() == len(NODES), STARTING_SECONDS, lambda: f"{name} is back")

    def stop(self) -> None:
        """End all jobs and daemons; nothing is left."""
        self.run("scancel", "--user", "root", check=False)
        # Jobs outlive the daemons: find the rest by environment, until none is left.
        deadline = time.monotonic() + 30
        while (left := [process for process, _ in self._processes()]) and time.monotonic() < deadline:
            for process in left:
                _kill(process)
            psutil.wait_procs(left, timeout=5)
        assert not left, left

    def _processes(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        """Yield the processes of this cluster, daemons and jobs, with their environment."""
        for process in psutil.process_iter():
            try:
                # Not with psutil: slurmstepd clears the first variables for its title, and psutil takes that for the end.
                environment = Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue  # gone
            if f"SLURM_CONF={self._configuration}" in environment:
                yield process, environment

    def _log(self) -> str:
        path = self.folder / "log" / "slurmctld.log"
        return path.read_text(encoding="utf-8")[-3000:] if path.exists() else ""


_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _open_files(process: psutil.Process) -> list[str]:
    try:
        return [file.path for file in process.open_files()]
    except psutil.NoSuchProcess:
        return []


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()

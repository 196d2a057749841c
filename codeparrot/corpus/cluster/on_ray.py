"""Runs datatrove's steps on a Ray cluster. This file needs the extra `codeparrot[ray]`."""

import logging
import pickle
import socket
import sys
from pathlib import Path
from typing import Any

import ray
from datatrove.executor import RayPipelineExecutor
from datatrove.executor.base import PipelineExecutor
from datatrove.utils.logging import logger
from ray.exceptions import RayError

from codeparrot.corpus.cluster.task import run_ranks
from codeparrot.errors import CodeparrotError

ATTEMPTS = 3
"""How often a job is started if nodes or workers die under it."""


def connect(address: str) -> None:
    """Join the Ray cluster at an address, or the one of this node.

    Raises:
        CodeparrotError: there is none.
    """
    if ray.is_initialized():
        return
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if port.isdecimal():
            # If nothing listens, Ray itself tries for minutes.
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError) as error:  # no such host; Ray raises ConnectionError, or ValueError for a malformed address
        place = f"at {address}" if address else "on this node"
        raise CodeparrotError(f"no Ray cluster answers {place}; --cluster.address names one, `ray start` makes one") from error


class Ray(RayPipelineExecutor):
    """A job is a Ray task that runs its ranks one after the other in an interpreter of its own.

    datatrove's own jobs are actors that fork a process for each of their ranks, all at once in the memory requested for one.
    Such a fork can also hang (task.py).
    """

    def run(self) -> None:
        """Run all ranks that are not complete; return when each is complete or has failed.

        Raises:
            CodeparrotError: ranks failed, or Ray could not run them.
        """
        ranks, some = self.get_incomplete_ranks(), self.tasks_per_job
        file = Path(self.logging_dir.path) / "executor.pickle"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(self))
        cpus, memory = self.cpus_per_task, int(self.cpus_per_task * self.mem_per_cpu_gb)
        say_when_no_node_fits(cpus, memory)
        job = ray.remote(run_ranks).options(num_cpus=cpus, memory=memory * 2**30, max_retries=0)
        jobs = [ranks[start : start + some] for start in range(0, len(ranks), some)]
        running: dict[Any, tuple[list[int], int]] = {job.remote(str(file), each): (each, 1) for each in jobs}
        failed = False
        try:
            while running:
                for done in ray.wait(list(running))[0]:
                    job_ranks, attempt = running.pop(done)
                    try:
                        failed |= not ray.get(done)
                    except RayError as error:
                        reason = str(error).strip().rpartition("\n")[2]
                        logger.warning("attempt {} on ranks {}: {}", attempt, job_ranks, reason)
                        if attempt == ATTEMPTS:
                            raise CodeparrotError(f"Ray could not run a task in {ATTEMPTS} attempts: {reason}") from error
                        running[job.remote(str(file), job_ranks)] = job_ranks, attempt + 1
        finally:
            for each in running:
                ray.cancel(each, force=True)
        if failed:
            missing = len(self.get_incomplete_ranks())
            raise CodeparrotError(f"{missing} of {self.tasks} tasks failed on the cluster; see {file.parent / 'logs'}")

    def run_rank(self, rank: int) -> None:
        # RayPipelineExecutor's own method collects the logs of all users and builds of a node in one folder of /tmp.
        PipelineExecutor._run_for_rank(self, rank, local_rank=1)


def say_when_no_node_fits(cpus: int, memory: int) -> None:
    """Say so when no node has what a job needs (cores, GB). No error: a cluster may start nodes on demand."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("memory", 0) >= memory * 2**30 for node in nodes):
        print(
            f"codeparrot: no node of the Ray cluster has {cpus} cores and {memory:,} GB: waiting for one"
            " (--cluster.cpus and --cluster.memory ask for less)",
            file=sys.stderr,
        )

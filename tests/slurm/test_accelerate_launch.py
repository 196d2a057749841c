"""The launcher of a node: silent about the end of the others once the work is done, and only about that."""

import inspect
import subprocess
import sys

from torch.distributed.elastic.agent.server import api

from slurm import accelerate_launch
from tests.launching import ROOT


def test_the_message_is_that_of_torch() -> None:
    assert api.logger.name == accelerate_launch.LOGGER
    assert f'"{accelerate_launch.AFTER_THE_WORK}' in inspect.getsource(api.SimpleElasticAgent._exit_barrier)


def test_only_the_end_of_the_other_launchers_is_passed_over() -> None:
    code = f"""
import logging, runpy, sys, types
stub = types.ModuleType("accelerate.commands.accelerate_cli")
def main():
    logger = logging.getLogger({accelerate_launch.LOGGER!r})
    try:
        raise ConnectionResetError("DistNetworkError")
    except ConnectionResetError:
        logger.exception("Error waiting on exit barrier. Elapsed: %s seconds", 1.0)
    logger.error("failed (exitcode: 1) local_rank: 0")
    print(sys.argv)
stub.main = main
sys.modules["accelerate.commands.accelerate_cli"] = stub
logging.basicConfig()
sys.argv = ["slurm/accelerate_launch.py", "launch", "x"]
runpy.run_path("slurm/accelerate_launch.py", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['accelerate', 'launch', 'x']\n"
    assert done.stderr == f"ERROR:{accelerate_launch.LOGGER}:failed (exitcode: 1) local_rank: 0\n"

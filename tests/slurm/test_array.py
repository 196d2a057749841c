"""A series of `codeparrot scale run --slurm` on a real cluster."""

import sys
from pathlib import Path

import pytest

from codeparrot.cli import main
from tests.launching import ROOT, write_config
from tests.slurm.cluster import ENDS
from tests.slurm.test_slurm import SAVED, Start, program, write_starts

TASKS = 2


@pytest.mark.slow
def test_each_task_of_an_array_goes_back_into_the_queue_by_itself(cluster, tmp_path: Path, corpus, tokenizer_folder) -> None:
    """The last task has the number of the whole array, so that its number alone would mean all of them."""
    recipe = write_config(tmp_path / "recipe.yaml", corpus, tokenizer_folder, evaluate={"every_steps": 100})
    made = ("--depths", "1", "--tokens_per_parameter", "0.5", "1", "--slurm", "--output", str(tmp_path / "scale"))
    assert main(["scale", "run", "--config", str(recipe), *made]) == 0
    # Stands in for the launcher: it leaves behind what the test says.
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    program(programs / "codeparrot", f'exec {sys.prefix}/bin/codeparrot "$@"')
    said = 'sh "$STARTS/$SLURM_ARRAY_TASK_ID/${SLURM_RESTART_COUNT:-0}"'
    launches = f"case $1 in *accelerate_launch.py) {said}; exit 1 ;; esac"
    program(programs / "python", f'{launches}\nexec {sys.prefix}/bin/python "$@"')
    (tmp_path / "starts").mkdir()
    for task, name in enumerate(["tiny-d1-t0.5", "tiny-d1-t1"]):
        run = tmp_path / "scale" / "runs" / name
        write_starts(tmp_path / "starts" / str(task), run, [SAVED, SAVED, Start("finished")])

    options = (f"--output={tmp_path}/%A_%a.out", "--time=30")
    settings = {"VENV": str(tmp_path / "venv"), "STARTS": str(tmp_path / "starts"), "MASTER_ADDR": "127.0.0.1"}
    array = cluster.submit(*options, tmp_path / "scale" / "array.sh", folder=ROOT, **settings)
    tasks = [f"{array}_{task}" for task in range(TASKS)]
    started = dict.fromkeys(tasks, 0)

    def all_ended() -> bool:
        for task in tasks:
            state, restarts = cluster.state(task), int(cluster.fact(task, "Restarts"))
            if state == "PENDING" and restarts > started[task]:
                started[task] = restarts
                cluster.start_again(task, wait=False)
        return all(cluster.state(task) in ENDS for task in tasks)

    cluster.until(all_ended, 180, lambda: "\n".join(map(cluster.report, tasks)))
    assert {task: cluster.state(task) for task in tasks} == dict.fromkeys(tasks, "COMPLETED"), cluster.output(tasks[0])
    # Each by itself: a task that the other had put back would have started once more, or have been interrupted.
    assert {task: cluster.fact(task, "Restarts") for task in tasks} == dict.fromkeys(tasks, "2")
    for task, name in zip(tasks, ["tiny-d1-t0.5", "tiny-d1-t1"], strict=True):
        assert f"job {task}, start 3: {tmp_path}/scale/runs/{name} with launch/ddp.yaml" in cluster.output(task)

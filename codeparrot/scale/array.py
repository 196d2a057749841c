"""A series as a SLURM job array: each task trains one run, started and put back into the queue by slurm/pretrain.sh."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from codeparrot import files

ARRAY = "array.sh"
SCRIPT = """#!/usr/bin/env bash
#SBATCH --job-name=scale
#SBATCH --array=0-{last}
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
##SBATCH --partition=gpu
##SBATCH --gpus-per-node=1
##SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@300
#SBATCH --output=slurm-%A_%a-%x.out
#
# Written by `codeparrot scale run --slurm`: each task trains one run of a series. Submit from the repository:
#
#     sbatch --time 4:00:00 {script}
#
# A task that runs out of time saves and goes back into the queue. A finished run ends at once, so the same line goes on.
set -euo pipefail

configs=(
{configs}
)
exec slurm/pretrain.sh "${{configs[$SLURM_ARRAY_TASK_ID]}}"
"""


def write(configs: Sequence[Path], output: Path) -> Path:
    """Write the script of a job array over configurations; return its place."""
    place = output / ARRAY
    lines = "\n".join(f"    {shlex.quote(str(config))}" for config in configs)
    files.write_text(place, SCRIPT.format(last=len(configs) - 1, script=shlex.quote(str(place)), configs=lines))
    place.chmod(0o755)
    return place

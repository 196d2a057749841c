#!/usr/bin/env bash
#SBATCH --job-name=humaneval
#SBATCH --nodes=1
#SBATCH --ntasks=1
##SBATCH --partition=gpu
##SBATCH --gpus=1
##SBATCH --cpus-per-task=8
#SBATCH --output=slurm-%A_%a-%x.out
#
# pass@k of a checkpoint. In an array, each task generates its share of the problems. Without an array, the same script
# generates missing samples, runs the unit tests and reports.
#
#     shares=$(sbatch --parsable --array=0-7 slurm/humaneval.sh runs/small --samples 200)
#     sbatch --dependency=afterany:$shares slurm/humaneval.sh runs/small --samples 200
#
# The arguments after the checkpoint are other options of `codeparrot eval humaneval`.
set -euo pipefail
# shellcheck source=slurm/environment.sh
source slurm/environment.sh

[[ -n ${1:-} ]] || fail "give a checkpoint: sbatch --array=0-7 slurm/humaneval.sh runs/small --samples 200"
share=()
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
    ((SLURM_ARRAY_TASK_MIN == 0 && SLURM_ARRAY_TASK_MAX + 1 == SLURM_ARRAY_TASK_COUNT)) ||
        fail "number the array from 0 without gaps: --array=0-$((SLURM_ARRAY_TASK_COUNT - 1))"
    share=(--share "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT")
fi
"${container[@]}" codeparrot eval humaneval --checkpoint "$@" "${share[@]}"

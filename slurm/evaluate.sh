#!/usr/bin/env bash
#SBATCH --job-name=evaluate
#SBATCH --nodes=1
#SBATCH --ntasks=1
##SBATCH --partition=gpu
##SBATCH --gpus=1
##SBATCH --cpus-per-task=8
#SBATCH --output=slurm-%A_%a-%x.out
#
# Evaluate the checkpoints of a run into RUN/evaluations/CHECKPOINT.json. Each task of the array takes one; task 0 the oldest.
#
#     sbatch --array=0-3 slurm/evaluate.sh runs/small data/corpus [more data] [--batch_size 16 ...]
#
# The arguments after the run are `--data` of `codeparrot eval perplexity` and its other options.
set -euo pipefail
# shellcheck source=slurm/environment.sh
source slurm/environment.sh

[[ -n ${2:-} ]] || fail "give a run and its data: sbatch --array=0-3 slurm/evaluate.sh runs/small data/corpus"
[[ -n ${SLURM_ARRAY_TASK_ID:-} ]] || fail "submit this as an array: sbatch --array=0-3 slurm/evaluate.sh $*"
run=$1
shift
shopt -s nullglob
# Complete checkpoints have a manifest; names sort by step.
manifests=("$run"/checkpoints/step_*/manifest.json)
((${#manifests[@]} > 0)) || fail "$run has no complete checkpoint (no $run/checkpoints/step_*/manifest.json)"
((SLURM_ARRAY_TASK_ID < ${#manifests[@]})) ||
    fail "$run has ${#manifests[@]} complete checkpoints, not number $SLURM_ARRAY_TASK_ID; use --array=0-$((${#manifests[@]} - 1))"
checkpoint=$(dirname "${manifests[$SLURM_ARRAY_TASK_ID]}")
name=$(basename "$checkpoint")

mkdir -p "$run/evaluations"
# Write beside the result and rename, so that it exists whole or not at all.
partial=$run/evaluations/.$name.$SLURM_JOB_ID
trap 'rm -f "$partial"' EXIT
"${container[@]}" codeparrot eval perplexity --checkpoint "$checkpoint" --data "$@" --json >"$partial"
mv "$partial" "$run/evaluations/$name.json"
echo "$run/evaluations/$name.json"

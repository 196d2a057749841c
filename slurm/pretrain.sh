#!/usr/bin/env bash
#SBATCH --job-name=pretrain
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
##SBATCH --partition=gpu
##SBATCH --gpus-per-node=8
##SBATCH --cpus-per-task=64
##SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@300
#SBATCH --output=slurm-%j-%x.out
#
# Pretrain on any number of nodes. Each node has one task, which launches that node's processes (slurm/node.sh).
#
#     sbatch --nodes 4 --time 24:00:00 slurm/pretrain.sh configs/small.yaml [--optim.lr 3e-4 ...]
#
# Submit from the repository, or with `sbatch --chdir REPOSITORY`. A job that runs out of time saves and puts itself back into
# the queue until the run is finished. slurm/README.md says the rest.
set -euo pipefail

LAUNCH=${LAUNCH:-ddp}                         # launch/NAME.yaml: cpu, ddp, fsdp, zero1, zero2, zero3
PROCESSES_PER_NODE=${PROCESSES_PER_NODE:-}    # default: one a GPU of the job, or one
MASTER_ADDR=${MASTER_ADDR:-}                  # default: the job's first node
MASTER_PORT=${MASTER_PORT:-}                  # default: derived from the job's number, so that jobs do not clash on a node

# NCCL says what went wrong, not only that something did.
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
# Nodes with several networks: name the one to use, for NCCL (gradients) and for gloo (agreeing to stop).
# export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0

if [[ ! -f slurm/environment.sh ]]; then
    echo "pretrain.sh: error: $PWD is not the repository; submit from there, or with sbatch --chdir REPOSITORY" >&2
    exit 1
fi
# shellcheck source=slurm/environment.sh
source slurm/environment.sh

[[ -n ${SLURM_JOB_ID:-} ]] || fail "submit this with sbatch"
# A task of an array by its own name: the number of one of them is also that of the whole array, and would mean all.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
[[ -f ${1:-} ]] || fail "there is no recipe \"${1:-}\"; give its file first: sbatch slurm/pretrain.sh configs/small.yaml"
[[ -f launch/$LAUNCH.yaml ]] || fail "LAUNCH=$LAUNCH is not one of $(cd launch && echo *.yaml | sed 's/\.yaml//g')"

if [[ -z $PROCESSES_PER_NODE ]]; then
    PROCESSES_PER_NODE=${SLURM_GPUS_ON_NODE:-$({ nvidia-smi --list-gpus 2>/dev/null || true; } | wc -l)}
    ((PROCESSES_PER_NODE > 0)) || PROCESSES_PER_NODE=1
fi
NUM_PROCESSES=$((SLURM_JOB_NUM_NODES * PROCESSES_PER_NODE))
[[ $LAUNCH != cpu || $NUM_PROCESSES == 1 ]] || fail "LAUNCH=cpu is one process, not $NUM_PROCESSES; use LAUNCH=ddp"
MASTER_ADDR=${MASTER_ADDR:-$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)}
# Below the range from which Linux draws ports for connections (32768 and up).
MASTER_PORT=${MASTER_PORT:-$((15000 + SLURM_JOB_ID % 15000))}
# The processes of a node share its cores; torchrun would give each a single thread.
threads=$((${SLURM_CPUS_ON_NODE:-1} / PROCESSES_PER_NODE))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
export LAUNCH NUM_PROCESSES MASTER_ADDR MASTER_PORT CONTAINER

# A wrong recipe fails here, in one line, before any node has loaded a library.
run=$(
    "${container[@]}" python - "$NUM_PROCESSES" --config "$@" <<'PYTHON'
import sys

from codeparrot.arguments import parse_config
from codeparrot.checks import check_world_size
from codeparrot.errors import CodeparrotError

try:
    config = parse_config(sys.argv[2:])
    check_world_size(config, int(sys.argv[1]))
except CodeparrotError as error:
    sys.exit(f"pretrain.sh: error: {error}")
print(config.run_directory)
PYTHON
)

# The state of the run: training writes status.json, and a complete checkpoint has a manifest.
written() { stat --format %y "$run/status.json" 2>/dev/null || true; }
manifests() {
    { find "$run/checkpoints" -mindepth 2 -maxdepth 2 -path '*/step_*/manifest.json' -exec cksum {} + 2>/dev/null || true; } | sort
}
said() {
    "${container[@]}" python -c '
import json, sys
status = json.load(open(sys.argv[1]))
print(status["state"], status["step"], *str(status["reason"])[:300].split())' "$run/status.json"
}

# Whether there is a checkpoint that was not there at the start. A run that went back writes lower steps, or the same again.
gained() { [[ -n $(comm -13 <(echo "$begin") <(manifests)) ]]; }

# Puts the job back into the queue, or ends it with status $1. $2 says why.
requeue() {
    local idle="$run/.idle_$SLURM_JOB_ID" now
    now=$(scontrol show job "$job" | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p')
    # The user cancelled the job, or SLURM itself put it back (preemption, a dead node).
    if [[ $now != RUNNING ]]; then
        echo "pretrain.sh: $2; SLURM says $now"
        exit "$1"
    fi
    if gained; then
        rm -f "$idle"
    elif [[ -e $idle ]]; then
        # It would never get any further.
        rm -f "$idle"
        fail "$2, and two starts in a row brought no new checkpoint: not requeued; give it more time (--time) or look at $run/log"
    else
        touch "$idle"
    fi
    echo "pretrain.sh: $2; job $job goes back into the queue"
    scontrol requeue "$job" || { echo "pretrain.sh: SLURM refuses (--no-requeue?); the same command goes on" && exit "$1"; }
    # SLURM ends this script here.
    trap - TERM
    sleep 300
    exit "$1"
}

begin=$(manifests)
before=$(written)
cat <<EOT
pretrain.sh: job $job, start $((${SLURM_RESTART_COUNT:-0} + 1)): $run with launch/$LAUNCH.yaml, $NUM_PROCESSES processes \
on $SLURM_JOB_NUM_NODES nodes ($SLURM_JOB_NODELIST), meeting at $MASTER_ADDR:$MASTER_PORT
EOT

# This shell survives signals to the job, so that it can read how the run ended.
trap : TERM INT USR1
# --kill-on-bad-exit: when a node fails, the others do not wait for it until NCCL's time-out.
# --cpus-per-task: srun does not inherit it from sbatch. --cpu-bind=none: the one task holds all processes of the node.
status=0
srun --kill-on-bad-exit=1 --cpu-bind=none ${SLURM_CPUS_PER_TASK:+"--cpus-per-task=$SLURM_CPUS_PER_TASK"} \
    slurm/node.sh --config "$@" || status=$?

state="none" step="" reason=""
if [[ $(written) != "$before" ]]; then
    read -r state step reason <<<"$(said)"
fi
((status > 0)) || status=1
case "$state $reason" in
    finished*) exit 0 ;;
    "stopped SIGUSR1" | "stopped time limit") requeue 75 "stopped at step $step ($reason), saved" ;;
    stopped*)
        echo "pretrain.sh: stopped at step $step ($reason), saved; the same command goes on"
        exit 75
        ;;
esac
# It failed: a node died, a GPU, a network. Try again if this start made a new checkpoint, or if the job worked before and this
# start did not get as far as training. An error in the recipe or the data would only come again.
why="failed${step:+ at step $step} (${reason:-srun ended with status $status})"
if gained || [[ $state != failed && ${SLURM_RESTART_COUNT:-0} -gt 0 ]]; then
    requeue "$status" "$why"
fi
fail "$why before a new checkpoint"

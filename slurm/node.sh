#!/usr/bin/env bash
# Launch the processes of one node and pass the first signal on to them. `srun` in slurm/pretrain.sh runs this, one task a node.
#
# On SIGUSR1, SIGTERM or SIGINT, training finishes the step, saves, and ends. Two things get in the way:
#  - The launcher (torchrun) would die of the signal, or kill the processes 30 s after it. So it ignores the signal.
#  - SLURM signals only a task's main process (proctrack/cgroup, pgid) or all of them (linuxproc, SignalChildrenProcesses), and
#    the training processes, in sessions of their own, may not get it. So this shell passes it on: only once to each, because a
#    second signal means "at once", and only when the process listens, so that a signal during the start is not lost.
set -euo pipefail

# In this order: the launcher inherits the ignored signals, and its processes set their own handlers. The inner shell ignores
# them once more, because container runtimes reset what they inherit.
trap '' USR1 TERM INT
read -r -a container <<<"${CONTAINER:-}"
# torchrun handles only the signals that training does not (its default: SIGTERM,SIGINT,SIGHUP,SIGQUIT).
export PET_SIGNALS_TO_HANDLE=SIGHUP,SIGQUIT
# SLURM_NODEID is this node's own number: it must not be expanded on the first node.
"${container[@]}" sh -c 'trap "" USR1 TERM INT; exec "$@"' launcher \
    python slurm/accelerate_launch.py launch --config_file "launch/$LAUNCH.yaml" \
    --num_machines "$SLURM_JOB_NUM_NODES" --machine_rank "$SLURM_NODEID" --num_processes "$NUM_PROCESSES" \
    --main_process_ip "$MASTER_ADDR" --main_process_port "$MASTER_PORT" codeparrot/train.py "$@" &
launcher=$!
asked=""
trap 'asked=${asked:-USR1}' USR1
trap 'asked=${asked:-TERM}' TERM
trap 'asked=${asked:-INT}' INT

# Prints the training processes below $1: they run the script themselves, not through the launcher.
workers() {
    local child words
    for child in $(pgrep --parent "$1" || true); do
        words=$(tr '\0' ' ' <"/proc/$child/cmdline" 2>/dev/null || true)
        if [[ $words == *codeparrot/train.py* && $words != *"launch --config_file"* ]]; then
            echo "$child"
        else
            workers "$child"
        fi
    done
}

# Whether process $1 has a handler for signal number $2.
listens() {
    local caught
    caught=$(sed -n 's/^SigCgt:\t//p' "/proc/$1/status" 2>/dev/null || true)
    [[ -n $caught ]] && (((16#$caught >> ($2 - 1)) & 1))
}

declare -A told
while kill -0 "$launcher" 2>/dev/null; do
    if [[ -z $asked ]]; then
        wait "$launcher" || true # a signal ends it too
        continue
    fi
    for worker in $(workers "$launcher"); do
        if [[ -z ${told[$worker]:-} ]] && listens "$worker" "$(kill -l "$asked")"; then
            kill -s "$asked" "$worker" && told[$worker]=yes || true
        fi
    done
    sleep 0.5 || true
done
status=0
wait "$launcher" || status=$?

# Processes that were asked to stop end with status 75. torchrun reports that as a failure, and --kill-on-bad-exit would kill the
# other nodes in the middle of their saves. status.json holds the outcome.
[[ -n $asked ]] || exit "$status"

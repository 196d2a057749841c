# Where codeparrot is installed on this cluster. Every script in this folder sources it.
#
# Edit the defaults once, or set them when you submit: `VENV=~/venvs/codeparrot sbatch slurm/pretrain.sh ...` (sbatch passes
# the environment on).

MODULES=${MODULES:-}     # environment modules, e.g. "cuda/12.8 gcc/13"
VENV=${VENV-.venv}       # virtual environment; if .venv is missing or this is empty, PATH is used
CONTAINER=${CONTAINER:-} # command prefix, e.g. "apptainer exec --nv --bind /scratch image.sif"

# Output appears as it is printed, not when a buffer is full.
export PYTHONUNBUFFERED=1

fail() {
    echo "${0##*/}: error: $*" >&2
    exit 1
}

if [[ -n $MODULES ]]; then
    type module &>/dev/null || fail "MODULES is \"$MODULES\" but there is no module command in a job's shell; see slurm/README.md"
    # shellcheck disable=SC2086  # several modules
    module load $MODULES
fi

# The prefix as words. A word cannot contain a space; put such a command into a script.
read -r -a container <<<"$CONTAINER"

if [[ -z $CONTAINER ]]; then
    if [[ -n $VENV && -x $VENV/bin/python ]]; then
        PATH="$(cd "$VENV" && pwd)/bin:$PATH"
    elif [[ -n $VENV && $VENV != .venv ]]; then
        fail "there is no virtual environment in VENV=$VENV (no $VENV/bin/python on $(hostname))"
    fi
    command -v codeparrot >/dev/null || fail "codeparrot is not on PATH; set VENV, MODULES or CONTAINER (slurm/environment.sh)"
fi

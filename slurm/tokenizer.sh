#!/usr/bin/env bash
#SBATCH --job-name=tokenizer
#SBATCH --nodes=1
#SBATCH --ntasks=1
##SBATCH --partition=cpu
##SBATCH --cpus-per-task=32
##SBATCH --mem=64G
#SBATCH --output=slurm-%j-%x.out
#
# Train a tokenizer: the arguments are those of `codeparrot tokenizer train`.
#
#     sbatch --cpus-per-task 32 slurm/tokenizer.sh --corpus data/corpus --vocab_size 32768 --output data/tokenizer
set -euo pipefail
# shellcheck source=slurm/environment.sh
source slurm/environment.sh
exec "${container[@]}" codeparrot tokenizer train "$@"

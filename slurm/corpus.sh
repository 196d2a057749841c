#!/usr/bin/env bash
#SBATCH --job-name=corpus
#SBATCH --nodes=1
#SBATCH --ntasks=1
##SBATCH --partition=cpu
##SBATCH --cpus-per-task=32
##SBATCH --mem=128G
#SBATCH --output=slurm-%j-%x.out
#
# Build a corpus: the arguments are those of `codeparrot corpus build`.
#
#     sbatch --cpus-per-task 32 slurm/corpus.sh --source data/raw --output data/corpus
set -euo pipefail
# shellcheck source=slurm/environment.sh
source slurm/environment.sh
exec "${container[@]}" codeparrot corpus build "$@"

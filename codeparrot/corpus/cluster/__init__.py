"""The tasks of a build on SLURM and Ray clusters, by datatrove (executor.py)."""

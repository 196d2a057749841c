"""`python -m codeparrot.corpus.cluster.task FOLDER RANK WORLD_SIZE`: run the step in FOLDER in an interpreter of its own."""

import pickle
import sys
from pathlib import Path

STEP = "step.pickle"


def main(folder: str, rank: str, world_size: str) -> None:
    # Written by the build itself, beside its other files.
    step = pickle.loads((Path(folder) / STEP).read_bytes())  # noqa: S301
    step.run(None, int(rank), int(world_size))


if __name__ == "__main__":
    main(*sys.argv[1:])

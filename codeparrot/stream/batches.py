"""How many windows each step of a run takes: as many as the first, or more by a schedule (batch warm-up).

A step is a function of its number alone, so the order of windows stays that of the lanes whatever their division into steps.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from codeparrot.errors import CodeparrotError

if TYPE_CHECKING:
    from codeparrot.config import TrainConfig

SCHEDULE = "train.global_batch_schedule"


class Batches(NamedTuple):
    """The sizes of the global batches of a run, in windows."""

    stretches: tuple[tuple[int, int], ...]
    """From which step on, counted from 0, and how many windows; the first begins at step 0."""

    def size(self, step: int) -> int:
        """Return the windows of optimizer step `step`, counted from 0."""
        return next(size for begin, size in reversed(self.stretches) if begin <= step)

    def before(self, step: int) -> int:
        """Return the windows of the first `step` steps."""
        ends = [*(begin for begin, _ in self.stretches[1:]), step]
        return sum(max(0, min(step, end) - begin) * size for (begin, size), end in zip(self.stretches, ends, strict=True))

    @property
    def sizes(self) -> list[int]:
        return [size for _, size in self.stretches]

    @property
    def largest(self) -> int:
        return max(self.sizes)

    def __str__(self) -> str:
        first, *later = self.stretches
        return "".join([f"{first[1]} windows", *(f", {size} from step {begin + 1}" for begin, size in later)])


def batches_of(train: "TrainConfig | Mapping[str, Any]") -> Batches:
    """Return the sizes of the batches of a run.

    Args:
        train: section `train` of its configuration, or of a manifest's.

    Raises:
        CodeparrotError: the schedule is none.
    """
    kept = train if isinstance(train, Mapping) else vars(train)
    found = [(0, kept["global_batch_size"])]
    for entry in kept.get("global_batch_schedule") or ():
        numbers = isinstance(entry, list | tuple) and len(entry) == 2 and all(type(number) is int for number in entry)
        if not numbers or entry[1] < 1:
            raise CodeparrotError(
                f"{SCHEDULE} has the entry {entry!r}; write [[step, windows], ...]: [[1000, 256], [4000, 512]]"
            )
        if entry[0] <= found[-1][0]:
            raise CodeparrotError(f"{SCHEDULE}: step {entry[0]} is not after step {found[-1][0]}; write the steps in order")
        found.append((entry[0], entry[1]))
    return Batches(tuple(found))

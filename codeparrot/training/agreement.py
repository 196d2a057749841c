"""What the processes of a run agree on."""

from collections.abc import Callable, Sequence
from typing import Any


class Agreement:
    """Lets all processes make the same decision at a step, without waiting for an accelerator.

    Flags travel over gloo between CPUs, so that asking costs no device synchronisation.
    """

    def __init__(self, accelerator: Any) -> None:
        self._alone = accelerator.num_processes == 1
        self._asked: Callable[[], list[bool]] | None = None
        """Waits for the answer to the last `any_soon`; None if that is out of date."""
        if not self._alone:
            import torch.distributed as dist

            self._group = dist.new_group(backend="gloo")

    def any(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is set on any process. All processes must call this."""
        self._asked = None
        return list(flags) if self._alone else self._ask(flags)()

    def any_soon(self, *flags: bool) -> list[bool]:
        """Return the answer to the flags of the call before, which has arrived since; only a first call waits for its own.

        All processes get the answer to the same call, and flags count one call later. What the processes have agreed on in any
        other way since makes that answer out of date: a call after `any`, `gather` or `from_main` is a first one again.
        """
        if self._alone:
            return list(flags)
        asked = self._ask(flags)
        before, self._asked = self._asked or asked, asked
        return before()

    def _ask(self, flags: Sequence[bool]) -> Callable[[], list[bool]]:
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(flags, dtype=torch.int32)
        work: Any = dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._group, async_op=True)

        def answer() -> list[bool]:
            work.wait()
            return [bool(flag) for flag in tensor.tolist()]

        return answer

    def sums(self, *numbers: int) -> list[int]:
        """Return the sum of each number over the processes. All processes must call this. Flags are not affected."""
        if self._alone:
            return list(numbers)
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(numbers, dtype=torch.int64)
        dist.all_reduce(tensor, group=self._group)
        return tensor.tolist()

    def gather(self, item: Any) -> list[Any]:
        """Return the items of all processes, in the order of their ranks. All processes must call this."""
        self._asked = None
        if self._alone:
            return [item]
        import torch.distributed as dist

        items: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(items, item, group=self._group)
        return items

    def from_main(self, item: Any) -> Any:
        """Return the item of the main process. All processes must call this."""
        return self.gather(item)[0]

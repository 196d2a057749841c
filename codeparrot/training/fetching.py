"""What one process fetches for long before a run begins: a checkpoint from the Hub or the mirror.

The other processes wait for it without a limit of time. A request to stop ends the start: nothing was trained that had to be
saved, and the next start goes on with the files that are here.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers.patience import waiting_for
from codeparrot.training.agreement import Agreement
from codeparrot.training.preemption import StopRequest

NAME = "fetching"
ASK_EVERY_SECONDS = 0.05
LEFT_BEHIND_SECONDS = 5.0
"""How long the end of a fetch is waited for that is broken off: its server or its disk may hang."""


class Stopped(Exception):
    """The run was asked to stop before it began. All processes raise it."""


def fetch_in_one(
    agreement: Agreement,
    stop: StopRequest,
    fetch: Callable[[], Any] | None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Any:
    """Fetch something in one process while all of them wait. All processes call this.

    Args:
        agreement: of the processes.
        stop: of this process. All processes have the same reason when it ends the fetch.
        fetch: what the process does; None on the others. Where it counts bytes, `until_broken_off` ends it.
        meanwhile: called often, on all processes.

    Returns:
        What `fetch` returns; None on the other processes.

    Raises:
        CodeparrotError: it failed. The same on all processes.
        Stopped: one of them was asked to stop.
    """
    broken_off, work = threading.Event(), Future()
    # A daemon: the end of the process does not wait for a server that hangs.
    if fetch is not None:
        threading.Thread(target=_do, args=(fetch, work, broken_off), name=NAME, daemon=True).start()
    # Agreed on again and again, so that no single collective lasts as long as the fetch.
    while True:
        going, stopped = agreement.any(fetch is not None and not work.done(), stop.requested)
        if stopped or not going:
            break
        meanwhile()
        time.sleep(ASK_EVERY_SECONDS)
    if stopped:
        broken_off.set()
        if fetch is not None:
            wait_for([work], LEFT_BEHIND_SECONDS)
        stop.agree(agreement.gather)  # all end together: a launcher kills the others as soon as one has ended
        raise Stopped
    try:
        found, error = None if fetch is None else work.result(), None
    except (CodeparrotError, OSError) as failure:
        found, error = None, " ".join(str(failure).split())
    error = next((each for each in agreement.gather(error) if each), None)
    if error:
        raise CodeparrotError(error)
    return found


def left_behind() -> bool:
    """Whether a fetch goes on. Python would wait at its end for the threads that it has started, as the Hub's client does."""
    return any(thread.name == NAME for thread in threading.enumerate())


def _do(fetch: Callable[[], Any], work: Future[Any], broken_off: threading.Event) -> None:
    with waiting_for(broken_off):
        try:
            work.set_result(fetch())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked for it
            work.set_exception(error)

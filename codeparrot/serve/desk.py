"""One thread owns the engine; coroutines hand it requests and take what it completes.

Guarantees: at most `Limits.queue` requests wait, others are refused with 503 and Retry-After, as is one whose time
is up before it has begun; nobody waits while another's long text is made tokens; a cancelled request leaves the engine within
one step; a request that fails does so alone; if the engine itself fails, all who wait are told, and a new engine takes the next
ones. When the desk is idle it holds nothing of past requests.
Cost: one call into the event loop for each step in which somebody has news.
"""

import asyncio
import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from codeparrot.errors import CodeparrotError
from codeparrot.generation.failures import NoMemory, NotFinite, no_memory
from codeparrot.generation.requests import CANCELLED
from codeparrot.serve.aside import Aside
from codeparrot.serve.fields import Refused
from codeparrot.serve.metrics import Metrics
from codeparrot.serve.reader import is_long, read
from codeparrot.serve.tickets import TIME, Event, Ticket

if TYPE_CHECKING:
    from codeparrot.generation.engine import Engine
    from codeparrot.generation.requests import Completion, Request

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""The thread may take so long to end: a step of the engine takes less."""
NO_MEMORY = "the server's memory does not suffice: send a shorter prompt, ask for fewer samples, or try again later"


class EngineFailed(CodeparrotError):
    """A defect: nothing that a client could do about it."""


@dataclass
class _Asked:
    """A request on its way to the engine."""

    requests: "Sequence[Request]"
    ticket: Ticket
    accepted: asyncio.Future[Ticket]
    deadline: float
    after_line_seconds: float | None
    began: float = field(default_factory=time.monotonic)
    read: "list[tuple[Request, str]] | None" = None
    """The requests in tokens, as the engine queues them."""


@dataclass
class _Running:
    """A completion in the engine."""

    asked: _Asked
    index: int
    num_ids: int = 0
    num_likelihoods: int = 0
    """How many were delivered."""
    read_at: float | None = None
    """When it got its first token."""
    late: bool = False


class Desk:
    """Completes requests of coroutines in a thread of its own."""

    def __init__(self, most_waiting: int, metrics: Metrics, batch_size: int) -> None:
        """
        Args:
            most_waiting: requests that may wait for their turn.
            metrics: counters that it keeps.
            batch_size: completions that the engine runs at a time.
        """
        self.batch_size = batch_size
        self._most, self._metrics = most_waiting + batch_size, metrics
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._reader = Aside("reader")
        self._running: dict[int, _Running] = {}
        self._unfinished: set[Ticket] = set()
        """Touched in the loop only."""
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._seconds = 1.0
        """How long a request took of late."""

    @property
    def unfinished(self) -> int:
        """How many requests wait or run."""
        return len(self._unfinished)

    @property
    def completing(self) -> int:
        """How many completions the engine has."""
        return len(self._running)

    def start(self, make_engine: "Callable[[], Engine]", failed: Callable[[BaseException], None]) -> None:
        """Start the thread.

        Args:
            make_engine: loads the model, and later makes another engine for it; called in the thread.
            failed: called in the loop with the error if there is no engine to begin with.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(make_engine, failed), name="desk", daemon=True)
        self._thread.start()
        self._reader.start()

    def give_up(self) -> None:
        """Tell all who wait that the server stops; called in the loop."""
        self._stopping = True
        for ticket in tuple(self._unfinished):
            self._fail(ticket, _stopping())

    async def stop(self) -> None:
        """End all requests and the thread; one that loads a model ends with the process."""
        self._stopping = True
        for ticket in self._unfinished:
            ticket.cancel()
        self._asked.put(None)
        end = time.monotonic() + STOP_SECONDS
        while self._thread is not None and self._thread.is_alive() and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def _busy(self, words: str) -> Refused:
        wait = str(max(1, math.ceil(self._seconds)))
        return Refused(503, words, kind="overloaded_error", headers={"Retry-After": wait})

    async def submit(self, requests: "Sequence[Request]", *, seconds: float, after_line_seconds: float | None = None) -> Ticket:
        """Queue requests and return their ticket once the engine has taken them.

        Args:
            requests: one for each completion. Samples of one prompt that follow each other read it once.
            seconds: their completions end after this long, as they are then. If none of them has begun, the ticket fails: 503.
            after_line_seconds: the same, for one whose text has a whole line by then.

        Raises:
            Refused: 503, too many wait; 400, a prompt cannot be completed.
        """
        if len(self._unfinished) >= self._most:
            self._metrics.refused.inc()
            raise self._busy("too many requests are waiting: try again")
        ticket = Ticket(len(requests), self._loop, lambda: self._asked.put(None))
        asked = _Asked(requests, ticket, self._loop.create_future(), time.monotonic() + seconds, after_line_seconds)
        self._unfinished.add(ticket)
        self._metrics.unfinished.set(len(self._unfinished))
        self._asked.put(asked)
        try:
            return await asyncio.shield(asked.accepted)
        except asyncio.CancelledError:  # its client left meanwhile
            asked.accepted.add_done_callback(_left)
            raise

    # What follows runs in the thread.

    def _run(self, make_engine: "Callable[[], Engine]", failed: Callable[[BaseException], None]) -> None:
        try:
            engine = make_engine()
            while not self._stopping:
                try:
                    with engine:
                        self._serve(engine)
                except Exception as error:  # the server outlives what breaks one engine
                    log.exception("the engine failed")
                    self._fail_all(error)
                    engine = make_engine()
        except BaseException as error:  # noqa: BLE001 -- the server ends with it, instead of waiting for a dead thread
            self._call(failed, error)

    def _serve(self, engine: "Engine") -> None:
        while not self._stopping or engine.busy:
            self._take_in(engine)
            if engine.busy:
                ended = engine.step()
                self._end_late()
                self._publish(ended)

    def _take_in(self, engine: "Engine") -> None:
        """Submit what was asked; wait for something where the engine has nothing to do."""
        with contextlib.suppress(queue.Empty):
            asked = self._asked.get(block=not engine.busy)
            while True:
                if asked is not None:
                    self._submit(engine, asked)
                asked = self._asked.get(block=False)

    def _submit(self, engine: "Engine", asked: _Asked) -> None:
        if asked.read is None and is_long(asked.requests):
            self._reader.put(lambda: self._read(engine, asked))
            return
        if asked.read is None and not self._read_now(engine, asked):
            return
        assert asked.read is not None
        completions = asked.ticket.completions = [engine.queue(*each) for each in asked.read]
        self._running |= {id(each): _Running(asked, index) for index, each in enumerate(completions)}
        self._metrics.prompt_tokens.inc(sum(len(each.prompt) for each in completions))
        self._call(self._accept, asked)

    def _read(self, engine: "Engine", asked: _Asked) -> None:
        """Read a long text, in the reader's thread."""
        if self._read_now(engine, asked):
            self._asked.put(asked)

    def _read_now(self, engine: "Engine", asked: _Asked) -> bool:
        """Read the text of a request; return whether it can be completed. Whatever is wrong, its client is told."""
        if self._stopping:
            self._call(self._refuse, asked, _stopping())
            return False
        try:
            asked.read = read(engine, asked.requests)
        except Exception as error:  # of one request: the others go on
            if not isinstance(error, CodeparrotError):
                log.exception("a request could not be read")
            self._call(self._refuse, asked, _failure(_known(error)))
        return asked.read is not None

    def _end_late(self) -> None:
        """Cancel completions whose time is up; they leave with the next step."""
        now = time.monotonic()
        for running in self._running.values():
            completion, asked = running.asked.ticket.completions[running.index], running.asked
            soon = asked.after_line_seconds
            # A time limit for lines begins with the first token, as llama.cpp's.
            over = soon is not None and running.read_at is not None and now > running.read_at + soon and "\n" in completion.text
            if not completion.ended and (now > asked.deadline or over):
                running.late = True
                completion.cancel()
                if not any(each.read for each in asked.ticket.completions):
                    self._call(self._fail, asked.ticket, self._busy("the request waited too long for its turn: try again"))

    def _publish(self, ended: "Sequence[Completion]") -> None:
        """Tell the loop what a step brought."""
        now, news = time.monotonic(), {}
        for completion in ended:
            running = self._running.pop(id(completion), None)
            if running is not None:
                self._note_time(running, completion, now)
                completion.ended = TIME if running.late and completion.ended == CANCELLED else completion.ended
                self._count(completion)
                if completion.error is not None:
                    self._call(self._fail, running.asked.ticket, _failure(completion.error))
                news.setdefault(running.asked.ticket, []).append((completion, running))
        for running in self._running.values():
            completion = running.asked.ticket.completions[running.index]
            self._note_time(running, completion, now)
            if running.asked.ticket.streamed and len(completion.ids) > running.num_ids:
                news.setdefault(running.asked.ticket, []).append((completion, running))
        if news:
            left = {running.asked.ticket for running in self._running.values()}
            told = [(ticket, [_event(*each) for each in pairs], ticket not in left) for ticket, pairs in news.items()]
            self._call(self._deliver, told)

    def _note_time(self, running: _Running, completion: "Completion", now: float) -> None:
        timings = running.asked.ticket.timings[running.index]
        if running.read_at is None and completion.read:
            running.read_at = now
            timings.prompt_seconds = now - running.asked.began
            self._metrics.prompt_seconds.observe(timings.prompt_seconds)
        if running.read_at is not None:
            timings.predict_seconds = now - running.read_at

    def _count(self, completion: "Completion") -> None:
        self._metrics.ended.labels(completion.ended).inc()
        self._metrics.cached_tokens.inc(completion.cached)
        self._metrics.new_tokens.inc(len(completion.ids))

    def _fail_all(self, error: Exception) -> None:
        refused = _failure(_known(error))
        for ticket in {running.asked.ticket for running in self._running.values()}:
            self._call(self._fail, ticket, refused)
        self._running.clear()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            self._loop.call_soon_threadsafe(function, *arguments)

    # What follows runs in the loop.

    def _accept(self, asked: _Asked) -> None:
        if not asked.accepted.done():
            asked.accepted.set_result(asked.ticket)

    def _refuse(self, asked: _Asked, refused: Refused) -> None:
        self._leave(asked.ticket)
        if not asked.accepted.done():
            asked.accepted.set_exception(refused)

    def _deliver(self, told: list[tuple[Ticket, list[Event], bool]]) -> None:
        for ticket, events, last in told:
            ticket.deliver(events, last)
            if last:
                self._leave(ticket)

    def _fail(self, ticket: Ticket, error: Refused) -> None:
        ticket.fail(error)
        ticket.cancel()  # its other completions
        self._leave(ticket)

    def _leave(self, ticket: Ticket) -> None:
        took = max((each.prompt_seconds + each.predict_seconds for each in ticket.timings), default=0.0)
        if ticket in self._unfinished and took:  # not of one that never had its turn
            self._seconds += 0.1 * (took - self._seconds)
        self._unfinished.discard(ticket)
        self._metrics.unfinished.set(len(self._unfinished))


def _stopping() -> Refused:
    return Refused(503, "the server is stopping", kind="unavailable_error")


def _left(accepted: asyncio.Future[Ticket]) -> None:
    if not accepted.cancelled() and accepted.exception() is None:
        accepted.result().cancel()


def _known(error: Exception) -> CodeparrotError:
    """Return what clients are told of an error."""
    known = error if isinstance(error, CodeparrotError) else no_memory(error)
    return known or EngineFailed("the engine failed: the server's log says why")


def _failure(error: CodeparrotError) -> Refused:
    if isinstance(error, NoMemory):  # its own words are for who started the server, and in the log
        return Refused(503, NO_MEMORY, kind="server_error")
    status = 500 if isinstance(error, NotFinite | EngineFailed) else 400
    return Refused(status, str(error), kind="invalid_request_error" if status == 400 else "server_error")


def _event(completion: "Completion", running: _Running) -> Event:
    """Return what is new of a completion since the last time."""
    likelihoods = completion.likelihoods
    ids, piece = completion.ids[running.num_ids :], completion.take()
    event = Event(running.index, piece, ids, likelihoods[running.num_likelihoods :], completion.ended)
    running.num_ids, running.num_likelihoods = len(completion.ids), len(likelihoods)
    return event

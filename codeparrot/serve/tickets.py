"""What a client of the desk holds: its completions, as they grow and when they have ended."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codeparrot.generation.requests import Completion

TIME = "time"
"""Why a completion ended whose time was up."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a step brought to one completion of a ticket."""

    index: int
    """Which of the ticket's requests."""
    text: str
    """New text that is certain: joined, the pieces are the completion's text."""
    ids: list[int]
    """New tokens."""
    likelihoods: list[Any]
    """New likelihoods, if they were asked for."""
    ended: str
    """Why it ended; empty while it grows."""


@dataclass
class Timings:
    """How long a completion took."""

    prompt_seconds: float = 0.0
    """From its request to its first token, waiting included."""
    predict_seconds: float = 0.0
    """From its first token to its end."""


class Ticket:
    """Completions of one request to the server.

    `async with` it: whoever leaves the block cancels what still runs, within one step. Iterate over it for pieces, or wait for
    `all`. While completions grow they belong to the desk's thread: only read them when they have ended.
    """

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self.completions: list[Completion] = []
        self.timings = [Timings() for _ in range(number)]
        self.streamed = False
        """Whether somebody reads the pieces: they cost a decoding a step."""
        self._events: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self._done: asyncio.Future[None] = loop.create_future()
        self._wake = wake

    async def __aenter__(self) -> "Ticket":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yield events until every completion has ended.

        Raises:
            Refused: a completion failed.
        """
        self.streamed = True
        unfinished = len(self.timings)
        while unfinished:
            event = await self._events.get()
            if isinstance(event, BaseException):
                raise event
            unfinished -= bool(event.ended)
            yield event

    async def all(self) -> "list[Completion]":
        """Wait for the end of all completions and return them.

        Raises:
            Refused: one failed.
        """
        await asyncio.shield(self._done)
        return self.completions

    def cancel(self) -> None:
        """Cancel what still runs. May be called from any thread, and again."""
        for completion in self.completions:
            completion.cancel()
        self._wake()

    def deliver(self, events: Sequence[Event], last: bool) -> None:
        """Take events from the desk; called in the loop."""
        for event in events:
            self._events.put_nowait(event)
        if last and not self._done.done():
            self._done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """End it with an error; called in the loop."""
        self._events.put_nowait(error)
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()  # nobody may be waiting: that is no error of its own

"""One request and its answer: reading the body within limits, and noticing that the client went away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from codeparrot.serve.fields import Fields, Refused, parse
from codeparrot.serve.service import Limits
from codeparrot.serve.tickets import Ticket

T = TypeVar("T")


async def fields_of(request: Request, limits: Limits) -> Fields:
    """Read the JSON object of a request.

    Raises:
        Refused: it is too large (413), too slow (408), or no JSON object (400).
    """
    try:
        async with asyncio.timeout(limits.body_seconds):
            return Fields(parse(await _body(request, limits.body_bytes)))
    except TimeoutError:
        raise Refused(408, f"the body did not come within {limits.body_seconds:g} s", headers={"Connection": "close"}) from None


async def _body(request: Request, most: int) -> bytes:
    too_large = Refused(413, f"the body is larger than {most / 2**20:g} MiB", headers={"Connection": "close"})
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise too_large
    return bytes(body)


@contextlib.asynccontextmanager
async def answering(request: Request, ticket: Ticket) -> AsyncIterator[None]:
    """Cancel a ticket when the block is left, or when the client goes away meanwhile. The body must have been read.

    A stream needs no more than `answers.stream`, which does the same.
    """
    watch = asyncio.create_task(_cancel_when_gone(request, ticket))
    try:
        async with ticket:
            yield
    finally:
        watch.cancel()


async def _cancel_when_gone(request: Request, ticket: Ticket) -> None:
    await _gone(request)
    ticket.cancel()


async def unless_gone(request: Request, work: "asyncio.Future[T]", seconds: float) -> T:
    """Wait for work that no ticket stands for; cancel it when the client goes away meanwhile. The body must have been read.

    Raises:
        TimeoutError: it is not done within so many seconds, and is cancelled.
        ClientDisconnect: the client has gone.
    """
    watch = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((work, watch), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        raise ClientDisconnect if watch.done() else TimeoutError
    finally:
        watch.cancel()
        work.cancel()


async def _gone(request: Request) -> None:
    """Wait until the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

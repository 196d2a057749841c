"""`/v1/search`: the chunks nearest to a text or a place, in the JSON of `codeparrot search query --json`.

Guarantees: searches run one after another in a thread of their own. Completions go on meanwhile; while a text is embedded,
the two share the cores. A request waits for its turn with its body read, so no client that is slow keeps others
waiting. One that leaves before its turn is not searched for. At most `Limits.queue` requests wait, others are refused with 503.
An index that was built again is opened at the next search.
Memory: that of the index, and of its model in float32, which is loaded at the start, even if it is the served one.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.errors import CodeparrotError
from codeparrot.generation.failures import no_memory
from codeparrot.search.index import Index, NoPlace
from codeparrot.serve.answers import answer
from codeparrot.serve.aside import Aside
from codeparrot.serve.exchange import fields_of, unless_gone
from codeparrot.serve.fields import Fields, Refused
from codeparrot.serve.service import Limits, Service

FIELDS = ("text", "like")
"""Exactly one of them says what to look for."""
NO_MEMORY = "the server's memory does not suffice: send a shorter text, or try again later"

Told = dict[str, Any]


class Searcher:
    """Searches an index in a thread of its own."""

    def __init__(self, folder: str, checkpoint: str, device: str) -> None:
        """Open an index and load its model.

        Args:
            folder: of the index.
            checkpoint: where its model lies now; empty: where it was.
            device: where its model runs.

        Raises:
            CodeparrotError: there is no index, it is damaged, or its model is gone, another one, or cannot be loaded.
        """
        self._index = Index(folder)
        self._embedder = self._index.embedder(checkpoint, device, "--search_checkpoint")
        self._thread = Aside("search")
        self._thread.start()
        self._waiting = 0
        """Requests that wait or run; touched in the loop only."""

    @property
    def facts(self) -> dict[str, Any]:
        """Root of the tree, number of files and chunks."""
        return {name: self._index.facts[name] for name in ("root", "files", "chunks")}

    def like_text(self, text: str, top: int) -> Told:
        """Return what `Index.like_text` does of the newest version; called in the thread."""
        self._index = self._index.newest()
        return self._index.like_text(text, top, self._embedder)

    def like_place(self, place: str, top: int) -> Told:
        """Return what `Index.like_place` does of the newest version, with files as seen from the root; called in the thread."""
        self._index = self._index.newest()
        return self._index.like_place(place, top, self._index.root)

    async def run(self, request: Request, search: Callable[[], Told], limits: Limits) -> Told:
        """Search in the thread when it is this request's turn.

        Raises:
            Refused: too many wait; it waited too long; there is no such place; the index or its model fails.
        """
        if self._waiting >= limits.queue:
            raise _busy("too many searches are waiting: try again")
        self._waiting += 1
        try:
            return await unless_gone(request, self._begun(search), limits.seconds)
        except TimeoutError:
            raise _busy("the search waited too long for its turn: try again") from None
        except NoPlace as error:
            raise Refused(400, f"like {error}", "like") from None
        except CodeparrotError as error:
            raise Refused(500, str(error), kind="server_error") from None
        except (MemoryError, RuntimeError) as error:
            if no_memory(error):
                raise Refused(503, NO_MEMORY, kind="server_error") from None
            raise
        finally:
            self._waiting -= 1

    def _begun(self, search: Callable[[], Told]) -> "asyncio.Future[Told]":
        """Queue a search; one that is cancelled before its turn is left out."""
        found: Future[Told] = Future()

        def work() -> None:
            if not found.set_running_or_notify_cancel():
                return
            try:
                found.set_result(search())
            except Exception as error:  # noqa: BLE001 -- it is the request's, and the thread goes on
                found.set_exception(error)

        self._thread.put(work)
        return asyncio.wrap_future(found)


def routes(service: Service) -> list[Route]:
    """Return the route of searches."""

    async def search(request: Request) -> Response:
        service.ready()
        searcher: Searcher | None = service.searcher
        if searcher is None:
            remedy = "start it with --search INDEX (codeparrot search build makes one)"
            raise Refused(404, f"this server searches no index: {remedy}", code="no_index")
        asked = read(await fields_of(request, service.limits), searcher, service.limits)
        return answer(await searcher.run(request, asked, service.limits), headers={"Cache-Control": "no-store"})

    return [Route("/v1/search", search, methods=["POST"])]


def read(fields: Fields, searcher: Searcher, limits: Limits) -> Callable[[], Told]:
    """Return the search that a request asks for.

    Raises:
        Refused: a field is missing, or is none of its kind.
    """
    given = [name for name in FIELDS if fields.has(name)]
    if len(given) != 1:
        nothing = "there is nothing to look for: give text, or like, as FILE:LINE"
        raise Refused(400, "text and like at once: give one of them" if given else nothing, FIELDS[len(given) // 2])
    top = fields.integer("top", 10, 1, limits.hits)
    assert top is not None
    wanted = fields.text(given[0], most=limits.search_characters) or ""
    if given == ["like"]:
        return partial(searcher.like_place, wanted, top)
    if not wanted.strip():
        raise Refused(400, "text is empty: there is nothing to look for", "text")
    return partial(searcher.like_text, wanted, top)


def _busy(words: str) -> Refused:
    return Refused(503, words, kind="overloaded_error", headers={"Retry-After": "1"})

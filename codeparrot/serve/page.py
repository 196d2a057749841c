"""The page at `/`: write code, complete it at the cursor, see what surprises the model.

Guarantees: three files are sent and no other; they are read when this module is imported, so no path of a request is ever
opened. The policy lets the page run its own scripts and ask this server, and nothing else: no other host, no inline script, no
text that becomes markup (Trusted Types). Page and scripts hold nothing of the model: they need no key and are there while it
loads. What `/facts` tells needs both.
Cost: 40 kB of memory.
"""

import base64
import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.serve.answers import answer

if TYPE_CHECKING:
    from codeparrot.serve.service import Service

_FOLDER = resources.files("codeparrot.serve") / "page"
PAGE, SCRIPT, SEARCH = ((_FOLDER / name).read_bytes() for name in ("index.html", "page.js", "search.js"))


def _policy(page: bytes) -> str:
    """Return the Content-Security-Policy of a page; its one style sheet is known by its hash."""
    (style,) = re.findall(rb"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    allowed = f"script-src 'self'; style-src 'sha256-{digest}'; connect-src 'self'; img-src data:"
    denied = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return f"default-src 'none'; {allowed}; {denied}; require-trusted-types-for 'script'; trusted-types 'none'"


HEADERS = {
    "Content-Security-Policy": _policy(PAGE),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # A newer version of the server may have a newer page.
    "Cache-Control": "no-cache",
}


def routes(service: "Service") -> list[Route]:
    """Return the routes of the page: itself, its scripts, and what it shows of the model."""

    async def page(_: Request) -> Response:
        return Response(PAGE, media_type="text/html", headers=HEADERS)

    async def script(_: Request) -> Response:
        return Response(SCRIPT, media_type="text/javascript", headers=HEADERS)

    async def search(_: Request) -> Response:
        return Response(SEARCH, media_type="text/javascript", headers=HEADERS)

    async def facts(_: Request) -> Response:
        service.ready()
        return answer(facts_of(service), headers={"Cache-Control": "no-store"})

    return [Route("/", page), Route("/page.js", script), Route("/search.js", search), Route("/facts", facts)]


def facts_of(service: "Service") -> dict[str, Any]:
    """Return what the page needs to know of a service: its facts, if it fills in the middle, its index, its limits."""
    limits = {"most_samples": service.limits.samples, "most_tokens": service.limits.new_tokens}
    fills = {"can_fill": service.can_fill, "why_not": service.why_not}
    search = {"search": service.searcher and service.searcher.facts}
    return {**service.facts, "name": service.name, "context": service.context, **fills, **search, **limits}

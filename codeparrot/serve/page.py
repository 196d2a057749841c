"""The page at `/`: write code, complete it at the cursor, see what surprises the model.

Guarantees: two files are sent and no other; they are read when this module is imported, so no path of a request is ever opened.
The policy lets the page run its own script and ask this server, and nothing else: no other host, no inline script, and no text
that becomes markup (Trusted Types). Page and script hold nothing of the model, so they need no key and are there while it loads;
what `/facts` tells needs both.
Cost: 35 kB of memory; a curve is sent with at most 400 points.
"""

import base64
import hashlib
import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from codeparrot.serve.service import Service

MOST_POINTS = 400
"""Of the loss curve: more than its picture has pixels."""
_FOLDER = resources.files("codeparrot.serve") / "page"
PAGE, SCRIPT = ((_FOLDER / name).read_bytes() for name in ("index.html", "page.js"))


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
    """Return the routes of the page: itself, its script, and what it shows of the model."""

    async def page(_: Request) -> Response:
        return Response(PAGE, media_type="text/html", headers=HEADERS)

    async def script(_: Request) -> Response:
        return Response(SCRIPT, media_type="text/javascript", headers=HEADERS)

    async def facts(_: Request) -> Response:
        service.ready()
        return JSONResponse(facts_of(service), headers={"Cache-Control": "no-store"})

    return [Route("/", page), Route("/page.js", script), Route("/facts", facts)]


def facts_of(service: "Service") -> dict[str, Any]:
    """Return what the page needs to know of a service: its facts, whether it fills in the middle, what may be asked for."""
    limits = {"most_samples": service.limits.samples, "most_tokens": service.limits.new_tokens}
    fills = {"can_fill": service.can_fill, "why_not": service.why_not}
    known = {**service.facts, "name": service.name, "context": service.context, **fills, **limits}
    return {**known, "curve": thinned(service.facts.get("curve", []))}


def thinned(curve: Sequence[Sequence[float]], most: int = MOST_POINTS) -> list[tuple[float, float | None]]:
    """Return a curve of (tokens, loss) with at most so many points, each the mean of as many.

    A point is a gap (None) where any of its losses is not finite.
    """
    size = max(1, math.ceil(len(curve) / most))
    groups = (curve[start : start + size] for start in range(0, len(curve), size))
    return [(group[-1][0], _mean([loss for _, loss in group])) for group in groups]


def _mean(losses: Sequence[float]) -> float | None:
    mean = sum(losses) / len(losses)
    return mean if math.isfinite(mean) else None

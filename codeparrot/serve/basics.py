"""What every client of such a server asks first: is it there, which model is it, and how is it doing."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.serve.answers import answer
from codeparrot.serve.fields import Refused, quoted
from codeparrot.serve.service import Service


def routes(service: Service) -> list[Route]:
    """Return the routes of models, health and metrics, and those of chats, which are refused."""

    async def health(request: Request) -> Response:
        service.ready()
        return answer({"status": "ok"})

    async def metrics(request: Request) -> Response:
        text, media_type = service.metrics.text()
        return Response(text, headers={"Content-Type": media_type})

    async def models(request: Request) -> Response:
        service.ready()
        return answer({"object": "list", "data": [_model(service)]})

    async def one_model(request: Request) -> Response:
        service.ready()
        name = request.path_params["name"]
        if name != service.name:
            raise Refused(404, f"there is no model {quoted(name)} here: it is {service.name}", "model", code="model_not_found")
        return answer(_model(service))

    async def chat(request: Request) -> Response:
        remedy = "ask /v1/completions"
        raise Refused(501, f"the model continues code and has learned no chat: {remedy}", kind="not_implemented_error")

    chats = ("/v1/chat/completions", "/chat/completions", "/v1/responses", "/v1/messages")
    return [
        Route("/health", health),
        Route("/v1/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/models", models),
        Route("/v1/models/{name:path}", one_model),
        *(Route(path, chat, methods=["POST"]) for path in chats),
    ]


def _model(service: Service) -> dict[str, Any]:
    created = int(service.facts.get("created", 0))
    return {
        "id": service.name,
        "object": "model",
        "created": created,
        "owned_by": "codeparrot",
        "max_model_len": service.context,
        "root": service.name,
        "parent": None,
    }

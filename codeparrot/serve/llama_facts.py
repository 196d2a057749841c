"""What llama.cpp's server says of itself: `/props` and `/slots`. No prompt of anybody is shown."""

from importlib.metadata import version
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from codeparrot.serve.answers import answer, in_shape
from codeparrot.serve.fields import Refused
from codeparrot.serve.llama import llama_error
from codeparrot.serve.llama_options import default_settings
from codeparrot.serve.service import Service


def routes(service: Service) -> list[Route]:
    """Return the routes of properties and slots."""

    @in_shape(llama_error)
    async def props(request: HttpRequest) -> Response:
        service.ready()
        return answer(_props(service))

    @in_shape(llama_error)
    async def slots(request: HttpRequest) -> Response:
        service.ready()
        found = _slots(service)
        if request.query_params.get("fail_on_no_slot") and all(slot["is_processing"] for slot in found):
            raise Refused(503, "no slot available")
        return answer(found)

    return [Route("/props", props), Route("/slots", slots)]


def _props(service: Service) -> dict[str, Any]:
    tokenizer = service.tokenizer
    return {
        "default_generation_settings": _slot(service, 0, False) | {"params": default_settings(service)},
        "total_slots": service.desk.batch_size,
        "model_alias": service.name,
        "model_path": service.name,  # the path itself is nobody's business
        "modalities": {"vision": False, "audio": False},
        "chat_template": "",
        "chat_template_caps": {},
        "bos_token": tokenizer.bos_token or "",
        "eos_token": tokenizer.eos_token or "",
        "build_info": f"codeparrot {version('codeparrot')}",
        "is_sleeping": False,
    }


def _slots(service: Service) -> list[dict[str, Any]]:
    busy = min(service.desk.completing, service.desk.batch_size)
    return [_slot(service, number, number < busy) for number in range(service.desk.batch_size)]


def _slot(service: Service, number: int, is_processing: bool) -> dict[str, Any]:
    context = service.context or 0
    return {"id": number, "id_task": -1, "n_ctx": context, "speculative": False, "is_processing": is_processing}

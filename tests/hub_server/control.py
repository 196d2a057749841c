"""Commands from the process that started the server: JSON lines on standard input, out of reach of faults.

{"command": "add_fault", "settings": {"kind": "answer", "status": 503, "times": 2}}  ->  {"result": 1}
"""

import json
import time
from collections.abc import Callable
from typing import IO, Any

from tests.hub_server.server import Server


def serve(server: Server, commands: IO[str], answers: IO[str]) -> None:
    """Serve until `commands` ends: the server ends with the process at the other end, however that dies."""
    known = _commands(server)
    for line in commands:
        settings = json.loads(line)
        try:
            answer = {"result": known[settings.pop("command")](**settings)}
        except (KeyError, TypeError, ValueError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _commands(server: Server) -> dict[str, Callable[..., Any]]:
    def limit_uploads(rate: float | None) -> None:
        server.faults.uploads.rate = rate

    def wait_for_request(path: str, fault: str | None, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not (found := any(path in each["path"] and each["fault"] == fault for each in list(server.requests))):
            if time.monotonic() > end:
                break
            time.sleep(0.01)
        return found

    return {
        "allow": server.access.allow,
        "deny": server.access.deny,
        "accept": server.accept,
        "refuse": server.refuse,
        "add_fault": server.faults.add,
        "remove_faults": server.faults.remove,
        "limit_uploads": limit_uploads,
        "requests": lambda: list(server.requests),
        "forget_requests": server.requests.clear,
        "wait_for_request": wait_for_request,
    }

"""Editors leave at the next keystroke, and what they asked for ends then, in every dialect; who never had a turn is told so."""

import asyncio
import time
from typing import Any

import pytest

from codeparrot.generation.requests import Request
from codeparrot.serve.fields import Refused
from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served

LONG = {"ignore_eos": True, "logit_bias": [["a", 50.0]]}
ASKED: dict[str, dict[str, Any]] = {
    "/infill": {"input_prefix": PREFIX, "input_suffix": SUFFIX, "stream": True, **LONG},
    "/completion": {"prompt": [5, 6], "stream": True, "n_cmpl": 4, **LONG},
    "/v1/fim/completions": {"prompt": PREFIX, "suffix": SUFFIX, "stream": True},
    "/api/generate": {"prompt": PREFIX, "suffix": SUFFIX},
}


@pytest.mark.parametrize("path", ASKED)
def test_nothing_is_left_of_a_stream_that_its_client_left(served: Served, path: str) -> None:
    with served.client.stream("POST", path, json=ASKED[path]) as answer:
        assert answer.status_code == 200
        next(answer.iter_bytes())
    deadline = time.monotonic() + 60
    while (served.service.desk.unfinished or served.service.desk.completing) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (served.service.desk.unfinished, served.service.desk.completing) == (0, 0)


def test_a_request_that_never_had_its_turn_is_told_to_come_again(served: Served) -> None:
    """How soon is told from requests that had their turn; those that starved would say "at once"."""
    desk, usual, seconds = served.service.desk, served.service.desk._seconds, []

    async def late() -> Any:
        desk._seconds = 30.0
        before = await desk.submit([Request([1, 2, 3], max_new_tokens=250, ends=frozenset())] * 640, seconds=60)
        waiting = await desk.submit([Request([1, 2, 3])], seconds=0.05)
        try:
            return await waiting.all()
        finally:
            seconds.append(desk._seconds)
            desk._seconds = usual
            before.cancel()

    with pytest.raises(Refused, match="waited too long") as refused:
        asyncio.run_coroutine_threadsafe(late(), desk._loop).result(60)
    assert refused.value.status == 503 and refused.value.headers["Retry-After"] == "30"
    assert seconds == [30.0]

"""Editors leave at the next keystroke: what they asked for ends then, in every dialect."""

import time
from typing import Any

import pytest

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

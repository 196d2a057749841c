"""Clients that leave, stall, shout or send nonsense harm nobody else, and leave nothing behind."""

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import torch

from codeparrot.generation.engine import Engine
from codeparrot.generation.requests import Request
from codeparrot.serve import server
from codeparrot.serve.loaded import Settings
from tests.serve.conftest import Served, serving

PATH = "/v1/completions"
PROMPT = "import os\n\n\ndef list_files(path):"


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait for a condition; return whether it came."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def is_idle(served: Served) -> bool:
    return served.service.desk.unfinished == served.service.desk.completing == 0


@pytest.fixture(scope="module")
def small(model_folder: str) -> Iterator[Served]:
    """A server with room for little."""
    settings = Settings(batch_size=2, threads=1)
    yield from serving(model_folder, settings, queue=2, body_bytes=10_000, body_seconds=0.5, seconds=1.0)


def asked(number: int) -> dict[str, Any]:
    """A request whose answer its seed alone decides; it does not end early."""
    return {"prompt": f"{PROMPT}\n    x = {number % 4}", "seed": number, "max_tokens": 40, "logit_bias": {"0": -100}}


@pytest.mark.slow
def test_64_clients_of_whom_half_leave_change_no_others_answer_and_leave_no_slot(served: Served) -> None:
    alone = {number: served.post(PATH, **asked(number))["choices"][0]["text"] for number in range(1, 64, 16)}

    async def one(client: httpx2.AsyncClient, number: int) -> str:
        text = ""
        async with client.stream("POST", PATH, json={**asked(number), "stream": True}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["text"]
                    if number % 2 == 0 and len(text) > number % 7:
                        return ""
        return text

    async def all_at_once() -> list[str]:
        limits = httpx2.Limits(max_connections=64)
        async with httpx2.AsyncClient(base_url=served.address, timeout=120, trust_env=False, limits=limits) as client:
            return await asyncio.gather(*(one(client, number) for number in range(64)))

    found = asyncio.run(all_at_once())
    assert {number: found[number] for number in alone} == alone
    assert all(text == "" if number % 2 == 0 else text for number, text in enumerate(found))
    assert until(lambda: is_idle(served))


def test_a_client_that_leaves_is_cancelled_streaming_or_not(served: Served) -> None:
    def cancelled() -> float:
        metric = served.service.metrics.ended.labels("cancelled")
        return metric._value.get()

    for stream in (True, False):
        before = cancelled()
        # Longer than it takes to notice that the client is gone.
        body = json.dumps({"prompt": ["x"] * 40, "n": 16, "max_tokens": 200, "logit_bias": {"0": -100}, "stream": stream})
        with socket.create_connection(served.address.removeprefix("http://").split(":")) as raw:  # type: ignore[arg-type]
            raw.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            assert until(lambda: served.service.desk.completing > 0)
        assert until(lambda: is_idle(served))
        assert cancelled() > before


def test_a_client_that_leaves_the_queue_leaves_it_at_once(served: Served) -> None:
    long = {"prompt": ["x"] * 20, "n": 16, "max_tokens": 200, "logit_bias": {"0": -100}, "stream": True}
    desk = served.service.desk
    with served.client.stream("POST", PATH, json=long) as running:
        lines = running.iter_lines()  # who drops it hangs up
        assert next(lines)
        with served.client.stream("POST", PATH, json={**long, "prompt": "y"}):
            assert until(lambda: desk.unfinished == 2), desk.unfinished
        assert until(lambda: desk.unfinished == 1), f"the first still runs: {desk.unfinished}"
    assert until(lambda: is_idle(served))


def mutated(body: bytes, random: random.Random) -> bytes:
    """Return a body with a few bytes or values changed."""
    if random.random() < 0.5:
        changed = bytearray(body)
        for _ in range(random.randint(1, 5)):
            place = random.randrange(len(changed))
            changed[place : place + random.randint(0, 3)] = random.randbytes(random.randint(0, 3))
        return bytes(changed)
    nonsense = [None, True, -1, 2**70, 1e308, -0.5, "", "\x00", "\ud800", [], [[]], {}, {"a": []}, "a" * 5000, [None], ["\x00"]]
    fields = json.loads(body)
    for name in random.sample(sorted(fields), random.randint(1, min(3, len(fields)))):
        fields[name] = random.choice(nonsense)
    return json.dumps(fields).encode()


BODIES = {
    PATH: {
        **{
            "prompt": "def f(",
            "max_tokens": 3,
            "n": 1,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 1,
            "stop": ["a"],
            "stream": False,
        },
        **{"echo": False, "logprobs": 1, "suffix": "x", "logit_bias": {"5": 1}, "presence_penalty": 0.1, "best_of": 1},
    },
    "/infill": {"input_prefix": "a", "input_suffix": "b", "input_extra": [{"text": "c"}], "prompt": "d", "n_predict": 2},
    "/completion": {
        "prompt": "a",
        "n_predict": 2,
        "temperature": 0.1,
        "top_k": 3,
        "stop": ["x"],
        "response_fields": ["content"],
    },
    "/api/generate": {"model": "tiny", "prompt": "a", "suffix": "b", "stream": False, "options": {"num_predict": 2}},
    "/v1/fim/completions": {"prompt": "a", "suffix": "b", "max_tokens": 2, "stop": ["x"], "random_seed": 3},
    "/tokenize": {"content": "a", "add_special": False},
    "/detokenize": {"tokens": [1, 2]},
}


@pytest.mark.parametrize("path", BODIES)
def test_malformed_bodies_are_answered_or_refused_and_never_a_defect(served: Served, path: str) -> None:
    draw, body = random.Random(path), json.dumps(BODIES[path]).encode()
    assert served.client.post(path, content=body).status_code == 200
    for _ in range(100 // len(BODIES) + 1):
        sent = mutated(body, draw)
        answer = served.client.post(path, content=sent)
        assert answer.status_code in (200, 400), (sent, answer.text)
        if answer.status_code == 400:
            assert "error" in answer.json()
    assert until(lambda: is_idle(served))


@pytest.mark.parametrize(
    "content", [b"\x00" * 100, b"[" * 100_000, b'{"prompt":' * 1000, b'{"prompt":"\\ud800"}', b"{}}", b"\xff\xfe"]
)
def test_bodies_that_are_no_requests_are_refused(served: Served, content: bytes) -> None:
    assert served.client.post(PATH, content=content).status_code == 400


def test_a_nul_in_a_prompt_is_text(served: Served) -> None:
    (choice,) = served.post(PATH, prompt="a\x00b", max_tokens=1, echo=True)["choices"]
    assert choice["text"].startswith("a\x00b")


def test_a_body_that_is_too_large_is_refused_while_it_is_read(small: Served) -> None:
    assert small.refused(413, PATH, prompt="x" * 20_000)["message"]

    def endless() -> Iterator[bytes]:
        yield from (b"x" * 1000 for _ in range(30))

    assert small.client.post(PATH, content=endless()).status_code == 413
    assert small.post(PATH, prompt="x", max_tokens=1)


def heard(served: Served, *pieces: bytes, pause: float) -> bytes:
    """Send pieces slowly and return what comes back until the server hangs up."""
    host, port = served.address.removeprefix("http://").split(":")
    found = b""
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        try:
            for piece in pieces:
                raw.sendall(piece)
                time.sleep(pause)
            while part := raw.recv(65536):
                found += part
        except (ConnectionResetError, BrokenPipeError):
            pass
    return found


def test_who_is_slow_with_headers_or_body_is_hung_up_on(small: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
    letters = [bytes([letter]) for letter in b"GET / HTTP/1.1\r\nHost: localhost\r\n"]
    assert heard(small, *letters, pause=0.05) == b""
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    assert b" 408 " in heard(small, head, b"}", pause=0.4)
    # Between two requests of one connection, too.
    whole = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert heard(small, whole, b"GET /hea", pause=0.1).count(b"HTTP/1.1 200") == 1


def test_more_than_the_queue_holds_is_told_to_come_again(small: Served) -> None:
    async def many() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=small.address, timeout=60, trust_env=False) as client:
            bodies = [{"prompt": "x", "n": 16, "max_tokens": 200, "logit_bias": {"0": -100}} for _ in range(12)]
            return await asyncio.gather(*(client.post(PATH, json=body) for body in bodies))

    answers = asyncio.run(many())
    full = [answer for answer in answers if answer.status_code == 503]
    assert full and len(full) < 12
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in full)
    assert until(lambda: is_idle(small))


def test_a_request_whose_time_is_up_ends_as_it_is(small: Served) -> None:
    answer = small.post(PATH, prompt=["x"] * 30, n=16, max_tokens=200, logit_bias={"0": -100})
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    assert answer["usage"]["completion_tokens"] < 30 * 16 * 200


@pytest.fixture
def failing(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Raise these errors, one at a time, where the model reads a prompt with the token 7."""
    errors: list[Exception] = []
    forward = served.service.model.forward

    def fail(*arguments: Any, **options: Any) -> Any:
        if errors and (options["input_ids"] == 7).any():
            raise errors.pop()
        return forward(*arguments, **options)

    monkeypatch.setattr(served.service.model, "forward", fail)
    return errors


def test_out_of_memory_is_503_for_that_request_alone(served: Served, failing: list[Exception]) -> None:
    failing.append(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    error = served.refused(503, PATH, prompt=[7] * 20, max_tokens=2)
    assert "memory" in error["message"] and "shorter prompt" in error["message"] and "train." not in error["message"]
    assert served.post(PATH, prompt=[7] * 20, max_tokens=2)


def test_a_defect_is_500_and_the_next_request_is_answered(served: Served, failing: list[Exception]) -> None:
    failing.append(ValueError("a defect"))
    error = served.refused(500, PATH, prompt=[7] * 21, max_tokens=2)
    assert "a defect" not in error["message"]
    assert served.post(PATH, prompt=[7] * 21, max_tokens=2)
    assert until(lambda: is_idle(served))


def test_a_request_that_the_engine_cannot_take_is_500_for_it_alone(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = Engine.resolve

    def failing(self: Engine, request: Request) -> tuple[Request, str]:
        if request.prompt == "defect":
            raise ValueError("a defect")
        return resolve(self, request)

    monkeypatch.setattr(Engine, "resolve", failing)
    long = {"prompt": PROMPT, "max_tokens": 200, "logit_bias": {"0": -100}, "stream": True}
    with served.client.stream("POST", PATH, json=long) as beside:
        lines = beside.iter_lines()
        assert next(lines)
        assert "a defect" not in served.refused(500, PATH, prompt="defect", n=2)["message"]
        assert "error" not in "".join(lines)
    assert until(lambda: is_idle(served))


def test_a_request_that_cannot_be_queued_is_answered_and_leaves_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a defect")

    with monkeypatch.context() as broken:
        broken.setattr("codeparrot.generation.engine.checked", fail)
        assert "a defect" not in served.refused(500, PATH, prompt="x", max_tokens=2)["message"]
        assert served.refused(500, "/infill", input_prefix="", input_suffix="", stream=True)
    assert served.post(PATH, prompt="x", max_tokens=2)
    assert until(lambda: is_idle(served))


def test_nobody_waits_while_the_long_text_of_another_is_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from codeparrot.generation import engine

    resolved, go, calls = engine.resolved, threading.Event(), []

    def slow(request: Any, *others: Any) -> Any:
        if len(request.prompt) > 10_000:
            calls.append(request)
            assert go.wait(60)
        return resolved(request, *others)

    monkeypatch.setattr(engine, "resolved", slow)
    found: list[Any] = []
    long = {"prompt": "x = 1\n" * 4000, "n": 3, "max_tokens": 2, "seed": 5}
    asking = threading.Thread(target=lambda: found.append(served.post(PATH, **long)))
    asking.start()
    assert until(lambda: bool(calls))
    assert served.post(PATH, prompt="x", max_tokens=2)
    assert not found
    go.set()
    asking.join(60)
    assert len(calls) == 1, "its samples read it once"
    assert [choice["index"] for choice in found[0]["choices"]] == [0, 1, 2]
    assert until(lambda: is_idle(served))


def resident_bytes() -> int:
    import psutil

    return psutil.Process().memory_info().rss


@pytest.mark.slow
def test_2000_requests_take_no_more_memory_than_200(served: Served) -> None:
    async def ask(count: int, first: int) -> None:
        limits = httpx2.Limits(max_connections=16)
        async with httpx2.AsyncClient(base_url=served.address, timeout=120, trust_env=False, limits=limits) as client:
            queue = iter(range(first, first + count))

            async def some() -> None:
                for number in queue:
                    body = {
                        "prompt": f"x{number} = {number}\n" * 8,
                        "max_tokens": 2,
                        "seed": number,
                        "stream": bool(number % 2),
                    }
                    assert (await client.post(PATH, json=body)).status_code == 200

            await asyncio.gather(*(some() for _ in range(16)))

    asyncio.run(ask(400, 0))
    before = resident_bytes()
    asyncio.run(ask(1600, 400))
    assert resident_bytes() - before < 60 * 2**20
    assert until(lambda: is_idle(served))

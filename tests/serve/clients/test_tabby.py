"""Tabby's bindings are strict: a field of another type is a panic, and a stream ends at the first event that says so."""

import json
from typing import Any

from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served

SEED = 2**64 - 3  # of the type u64


def events(served: Served, path: str, body: dict[str, Any]) -> list[Any]:
    answer = served.client.post(path, json=body, headers={"Accept": "text/event-stream", "Authorization": "Bearer key"})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream"), answer.text
    data = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]
    return [json.loads(each) for each in data if each != "[DONE]"]


def test_as_llama_cpp_each_event_has_content_and_stop(served: Served) -> None:
    prompt = f"<fim_prefix>{PREFIX}<fim_suffix>{SUFFIX}<fim_middle>"
    body = {"seed": SEED, "prompt": prompt, "n_predict": 12, "temperature": 0.1, "stream": True}
    found = events(served, "/completion", body | {"penalty_last_n": 0, "presence_penalty": 0.0})
    assert all(type(each["content"]) is str and type(each["stop"]) is bool for each in found)
    assert [each["stop"] for each in found].index(True) == len(found) - 1


def test_as_openai_the_reason_comes_with_the_last_text(served: Served) -> None:
    body = {"model": "tiny", "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 12, "temperature": 0.1, "stream": True}
    found = events(served, "/v1/completions", body | {"presence_penalty": 0.0})
    choices = [each["choices"][0] for each in found]
    assert all(type(choice["text"]) is str for choice in choices)
    assert [choice["finish_reason"] is None for choice in choices] == [True] * (len(choices) - 1) + [False]


def test_its_mark_of_the_cursor_is_understood(served: Served) -> None:
    body = {"model": "tiny", "max_tokens": 12, "temperature": 0}
    marked = served.post("/v1/completions", prompt=f"{PREFIX}<|FIM|>{SUFFIX}", suffix=None, **body)
    plain = served.post("/v1/completions", prompt=PREFIX, suffix=SUFFIX, **body)
    assert marked["choices"] == plain["choices"]


def test_as_mistral_each_event_has_a_delta_with_content(served: Served) -> None:
    body = {"prompt": PREFIX, "suffix": SUFFIX, "model": "codestral-latest", "temperature": 0.1, "max_tokens": 12}
    found = events(served, "/v1/fim/completions", body | {"stream": True, "random_seed": SEED})
    choices = [each["choices"][0] for each in found]
    assert all(type(choice["delta"]["content"]) is str for choice in choices)
    assert choices[-1]["finish_reason"] in ("stop", "length")


def test_as_ollama_it_finds_the_model_and_generates(served: Served) -> None:
    (model,) = served.client.get("/api/tags").json()["models"]
    assert model["name"] == "tiny" and type(model["modified_at"]) is str and type(model["size"]) is int
    prompt = f"<fim_prefix>{PREFIX}<fim_suffix>{SUFFIX}<fim_middle>"
    options = {"num_ctx": 1536, "num_predict": 12, "seed": -77, "repeat_last_n": 0, "temperature": 0.1}
    body = {"model": "tiny", "prompt": prompt, "template": "{{ .Prompt }}", "options": options, "stream": True, "images": []}
    answer = served.client.post("/api/generate", json=body)
    for line in answer.text.splitlines():
        part = json.loads(line)
        assert type(part["model"]) is type(part["created_at"]) is type(part["response"]) is str and type(part["done"]) is bool

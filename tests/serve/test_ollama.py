"""Ollama's API is honoured as its documentation says, or refused by name."""

import json
from typing import Any

import pytest

from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served

OPTIONS = {"num_predict": 12, "temperature": 0}


def generated(served: Served, **body: Any) -> Any:
    return served.post("/api/generate", **{"model": "tiny", "prompt": PREFIX, "stream": False, "options": OPTIONS} | body)


def test_an_answer_has_counts_and_nanoseconds(served: Served) -> None:
    answer = generated(served, suffix=SUFFIX)
    assert answer["model"] == "tiny" and answer["done"] is True and answer["done_reason"] in ("stop", "length")
    assert answer["created_at"].endswith("Z") and isinstance(answer["response"], str)
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "prompt_eval_count", "eval_count"):
        assert type(answer[name]) is int and answer[name] >= 0
    assert answer["total_duration"] >= answer["eval_duration"]


def test_a_stream_is_the_default_and_joins_to_the_text(served: Served) -> None:
    body = {"model": "tiny", "prompt": PREFIX, "suffix": SUFFIX, "options": OPTIONS}
    answer = served.client.post("/api/generate", json=body)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    *pieces, last = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(each["response"] for each in pieces) == generated(served, suffix=SUFFIX)["response"]
    assert [each["done"] for each in pieces] == [False] * len(pieces) and last["response"] == "" and last["done"] is True


def test_without_a_prompt_the_model_is_there_already(served: Served) -> None:
    answer = served.post("/api/generate", model="tiny", keep_alive="10m")
    assert (answer["done"], answer["done_reason"], answer["response"]) == (True, "load", "")


def test_options_change_what_is_drawn(served: Served) -> None:
    hot = {"num_predict": 12, "temperature": 1.5, "seed": 7}
    assert generated(served, options=hot)["response"] == generated(served, options=hot)["response"]
    assert generated(served, options=hot | {"top_k": 1})["response"] == generated(served)["response"]
    text = generated(served)["response"]
    assert generated(served, options=OPTIONS | {"stop": [text[3:5]]})["response"] == text[: text.index(text[3:5])]


@pytest.mark.parametrize("template", ["{{ .Prompt }}", "{{.Prompt}}"])
def test_how_the_model_runs_is_read_past(served: Served, template: str) -> None:
    running = OPTIONS | {
        "num_ctx": 1024,
        "num_thread": 8,
        "use_mmap": True,
        "num_gpu": 1,
        "penalize_newline": True,
        "mirostat": 0,
    }
    assert generated(served, options=running, template=template, raw=True)["response"] == generated(served)["response"]


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "You are a pirate."},
        {"format": "json"},
        {"images": ["AAAA"]},
        {"context": [1, 2]},
        {"think": True},
        {"template": "[INST] {{ .Prompt }} [/INST]"},
        {"logprobs": True},
        {"stream": "no"},
        {"prompt": 5},
        {"options": {"mirostat": 1}},
        {"options": {"num_predict": "many"}},
        {"options": []},
    ],
)
def test_what_cannot_be_done_is_refused_by_name_in_ollamas_shape(served: Served, changes: dict[str, Any]) -> None:
    answer = served.client.post("/api/generate", json={"model": "tiny", "prompt": PREFIX} | changes)
    assert answer.status_code == 400
    (name, value), error = next(iter(changes.items())), answer.json()["error"]
    assert isinstance(error, str) and (next(iter(value)) if name == "options" and value else name) in error


@pytest.mark.parametrize("path", ["/api/chat", "/api/embed", "/api/pull"])
def test_what_ollama_does_besides_is_501(served: Served, path: str) -> None:
    answer = served.client.post(path, json={"model": "tiny"})
    assert answer.status_code == 501 and isinstance(answer.json()["error"], str)


def test_errors_before_any_endpoint_have_ollamas_shape_too(served: Served) -> None:
    asked = served.client.request
    answers = {
        404: asked("GET", "/api/none"),
        405: asked("GET", "/api/generate"),
        403: asked("GET", "/api/tags", headers={"Host": "elsewhere.example"}),
    }
    for status, found in answers.items():
        assert found.status_code == status and isinstance(found.json()["error"], str)
    assert asked("GET", "/v1/none").json()["error"]["message"] == answers[404].json()["error"]


def test_the_model_is_shown(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    (model,) = served.client.get("/api/tags").json()["models"]
    assert model["details"]["family"] == "gpt2" and model["size"] > 0
    assert served.client.get("/api/ps").json()["models"][0]["name"] == "tiny"
    assert served.client.get("/api/version").json()["version"].count(".") == 2
    assert served.post("/api/show", model="tiny")["capabilities"] == ["completion", "insert"]
    monkeypatch.setattr(served.service, "why_not", "it has not learned that")
    shown = served.post("/api/show", model="tiny")
    assert shown["capabilities"] == ["completion"] and ".Suffix" not in shown["template"]
    refused = served.client.post("/api/generate", json={"model": "tiny", "prompt": PREFIX, "suffix": SUFFIX})
    assert (refused.status_code, refused.json()) == (400, {"error": "it has not learned that"})

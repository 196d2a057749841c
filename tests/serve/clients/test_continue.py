"""Continue completes as Mistral, llama.cpp, an older OpenAI, or Ollama, and streams always."""

import json
import re
from typing import Any

from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served

STARCODER = f"<fim_prefix>{PREFIX}<fim_suffix>{SUFFIX}<fim_middle>"
STOPS = [
    *("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<file_sep>", "<|endoftext|>", "</fim_middle>", "</code>"),
    *("\n\n", "\r\n\r\n", "/src/", "#- coding: utf-8", "```"),
]


def events(served: Served, path: str, body: dict[str, Any], **headers: str) -> list[Any]:
    """Return the events that Continue's streamSse yields: JSON behind "data: ", until [DONE]."""
    answer = served.client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json", **headers})
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream"), answer.text
    found = []
    for line in answer.text.split("\n"):
        if line.startswith("data:") and not line.startswith("data: [DONE]"):
            found.append(json.loads(line.removeprefix("data:").strip()))
    return found


def test_as_mistral_every_event_has_a_text(served: Served) -> None:
    body = {
        "model": "nano",
        "prompt": PREFIX,
        "suffix": SUFFIX,
        "max_tokens": 12,
        "temperature": 0.01,
        "stop": STOPS,
        "stream": True,
    }
    key = {"x-api-key": "none", "Authorization": "Bearer none", "Accept": "application/json"}
    found = events(served, "/v1/fim/completions", body, **key)
    assert found and all(isinstance(each["choices"][0]["delta"]["content"], str) for each in found)


def test_as_llama_cpp_it_joins_the_contents(served: Served) -> None:
    body = {"prompt": STARCODER, "stream": True, "n_predict": 12, "temperature": 0.01, "stop": STOPS, "top_k": 1}
    found = events(served, "/completion", body, Authorization="Bearer undefined")
    assert all(isinstance(each["content"], str) for each in found)
    assert [each["stop"] for each in found] == [False] * (len(found) - 1) + [True]


def test_as_an_older_openai_it_joins_the_texts(served: Served) -> None:
    body = {"model": "tiny", "prompt": STARCODER, "max_tokens": 12, "temperature": 0.01, "stop": STOPS, "stream": True}
    found = events(served, "/v1/completions", body, **{"api-key": "", "Authorization": "Bearer"})
    assert all(isinstance(each["choices"][0]["text"], str) for each in found)


def test_as_ollama_it_learns_that_the_model_fills_in_the_middle(served: Served) -> None:
    shown = served.post("/api/show", name="tiny")
    assert ".Suffix" in shown["template"]
    for line in shown["parameters"].split("\n"):
        found = re.fullmatch(r'(\S+)\s+((?:".*")|\S+)', line)
        assert found is not None  # it reads the groups unseen
        assert found.groups() == ("num_ctx", str(served.service.context))


def test_as_ollama_it_reads_a_line_at_a_time(served: Served) -> None:
    options = {"temperature": 0.01, "num_predict": 12, "stop": STOPS, "num_ctx": 8096}
    body = {
        "model": "tiny",
        "prompt": PREFIX,
        "suffix": SUFFIX,
        "raw": False,
        "options": options,
        "keep_alive": 1800,
        "stream": True,
    }
    answer = served.client.post("/api/generate", json=body)
    *lines, rest = answer.text.split("\n")
    assert rest == "" and lines  # it keeps what has no end of line for later
    assert all(isinstance(json.loads(line)["response"], str) for line in lines)
    assert json.loads(lines[-1])["done"] is True


def test_sentinels_of_its_templates_are_all_the_same_request(served: Served) -> None:
    templates = [
        STARCODER,
        f"<|fim_prefix|>{PREFIX}<|fim_suffix|>{SUFFIX}<|fim_middle|>",
        f"[SUFFIX]{SUFFIX}[PREFIX]{PREFIX}",
        f"<PRE> {PREFIX} <SUF>{SUFFIX} <MID>",
        f"<｜fim▁begin｜>{PREFIX}<｜fim▁hole｜>{SUFFIX}<｜fim▁end｜>",
    ]
    read = {served.post("/completion", prompt=each, n_predict=0)["prompt"] for each in templates}
    assert len(read) == 1 and "<fim_suffix>" in read.pop()

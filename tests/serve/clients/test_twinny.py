"""twinny renders sentinels itself, by a template that its user or the model's name chooses."""

import json
from typing import Any

from tests.serve.clients.typing_in import OTHER, PREFIX, SUFFIX
from tests.serve.conftest import Served

STARCODER = f"<repo_name>shop\n<file_sep>small.py\n{OTHER.rstrip()}\n<file_sep>main.py\n"


def chunks(served: Served, path: str, body: dict[str, Any]) -> list[Any]:
    """Return what it parses: each line, with or without "data:" in front."""
    answer = served.client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    payloads = [line.removeprefix("data:").strip() for line in answer.text.split("\n")]
    return [json.loads(payload) for payload in payloads if payload and payload != "[DONE]"]


def test_as_ollama(served: Served) -> None:
    prompt = f"{STARCODER}<fim_prefix>{PREFIX}<fim_suffix>{SUFFIX}<fim_middle>"
    stop = ["<|endoftext|>", "<file_sep>", "<fim_prefix>", "<repo_name>"]
    options = {"temperature": 0.2, "num_predict": 12, "stop": stop}
    body = {"model": "tiny", "prompt": prompt, "stream": True, "keep_alive": "5m", "options": options}
    found = chunks(served, "/api/generate", body)
    assert all(isinstance(each["response"], str) for each in found)


def test_as_llama_cpp_it_says_max_tokens(served: Served) -> None:
    prompt = f"<PRE> {PREFIX} <SUF> {SUFFIX} <MID>"
    body = {"prompt": prompt, "stream": True, "temperature": 0.2, "max_tokens": 5, "stop": ["<EOT>"]}
    found = chunks(served, "/completion", body)
    assert all(isinstance(each["content"], str) for each in found)
    assert found[-1]["tokens_predicted"] <= 5


def test_no_limit_is_as_much_as_the_context_holds(served: Served) -> None:
    prompt = f"<fim_prefix>{PREFIX}<fim_suffix>{SUFFIX}<fim_middle>"
    body = {"model": "tiny", "prompt": prompt, "stream": True, "options": {"temperature": 0, "num_predict": -1}}
    last = chunks(served, "/api/generate", body)[-1]
    assert last["prompt_eval_count"] + last["eval_count"] <= (served.service.context or 0)


def test_without_a_suffix_the_marks_of_files_stay_and_are_understood(served: Served) -> None:
    read = served.post("/completion", prompt=f"{STARCODER}{PREFIX}", n_predict=0)["prompt"]
    end = served.service.tokenizer.eos_token
    assert read.startswith(f"{OTHER}{end}import os") and "<" not in read.replace(end, "").replace(" < 1000", "")


def test_its_probe_gets_a_token(served: Served) -> None:
    options = {"temperature": 0, "num_predict": 8}
    body = {"model": "tiny", "prompt": "def add(a, b):\n    return", "stream": True, "options": options}
    assert any(each["response"] for each in chunks(served, "/api/generate", body))


def test_it_lists_the_model_by_either_route(served: Served) -> None:
    tags, models = served.client.get("/api/tags").json(), served.client.get("/v1/models").json()
    assert [each["name"] for each in tags["models"]] == [each["id"] for each in models["data"]] == ["tiny"]

"""minuet-ai.nvim streams with curl, takes what came even if it kills the request, and joins the texts of all events."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.serve.clients.typing_in import OTHER, PREFIX, SUFFIX
from tests.serve.conftest import Served

Read = Callable[[Any], str]


def streamed(served: Served, path: str, read: Read, body: dict[str, Any]) -> str:
    """Return the text as minuet decodes it: each line by itself, those that are no JSON dropped."""
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Authorization": "Bearer TERM"}
    answer = served.client.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code == 200, answer.text
    lines: Sequence[str] = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return "".join(read(json.loads(line)) for line in lines[:-1])


def text_of(event: Any) -> str:
    return event["choices"][0]["text"]


def delta_of(event: Any) -> str:
    return event["choices"][0]["delta"]["content"]


def test_a_prompt_with_a_suffix_is_filled_in(served: Served) -> None:
    body = {"model": "tiny", "stream": True, "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 12, "temperature": 0}
    streaming = streamed(served, "/v1/completions", text_of, body)
    assert streaming == served.post("/v1/completions", **body | {"stream": False})["choices"][0]["text"]


def test_its_recipe_for_llama_cpp_is_the_same_request(served: Served) -> None:
    rendered = f"<|fim_prefix|>{PREFIX}<|fim_suffix|>{SUFFIX}<|fim_middle|>"
    body = {"model": "tiny", "stream": True, "max_tokens": 12, "top_p": 0.9, "temperature": 0}
    with_suffix = streamed(served, "/v1/completions", text_of, body | {"prompt": PREFIX, "suffix": SUFFIX})
    assert streamed(served, "/v1/completions", text_of, body | {"prompt": rendered}) == with_suffix


def test_files_that_vectorcode_finds_are_other_files(served: Served) -> None:
    before, behind = "def f(a):\n    return", "\n\n\nf(1)\n"
    prompt = f"<|file_sep|>/home/me/small.py\n{OTHER}<|fim_prefix|>{before}<|fim_suffix|>{behind}<|fim_middle|>"
    body = {"model": "tiny", "stream": True, "prompt": prompt, "max_tokens": 12, "temperature": 0}
    around = {"input_prefix": before, "input_suffix": behind, "input_extra": [{"text": OTHER}]}
    infilled = served.post("/infill", **around, n_predict=12, temperature=0)
    assert infilled["prompt"].startswith(OTHER)
    assert streamed(served, "/v1/completions", text_of, body) == infilled["content"]


def test_as_codestral_it_reads_the_delta_of_each_event(served: Served) -> None:
    body = {"model": "codestral-latest", "stream": True, "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 12, "stop": ["\n\n"]}
    assert isinstance(streamed(served, "/v1/fim/completions", delta_of, body), str)


def test_as_codestral_without_a_stream_it_reads_a_message(served: Served) -> None:
    body = {"model": "codestral-latest", "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 12}
    assert isinstance(served.post("/v1/fim/completions", **body)["choices"][0]["message"]["content"], str)

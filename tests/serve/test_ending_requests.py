"""Completions end with their function where a request or the server says so, in the language that the request shows.

The model writes closing braces alone here.
"""

import json
from dataclasses import replace
from typing import Any

import pytest

from codeparrot.generation.blocks import Block
from codeparrot.generation.functions import Function
from codeparrot.languages.stops import stops_of
from codeparrot.serve import mistral, ollama
from codeparrot.serve.asking import ending_of
from codeparrot.serve.fields import Fields
from codeparrot.serve.sentinels import current_path
from tests.serve.conftest import Served

BEFORE, ENDS = "int f() { if (x) {", "}}"
FILE = "<|file_sep|>other.py\nx = 1\n<|file_sep|>src/main.c\n"


def braces(served: Served) -> int:
    (token,) = served.service.tokenizer("}", add_special_tokens=False)["input_ids"]
    return token


def completed(served: Served, **fields: Any) -> tuple[str, str]:
    """Return the text and the reason of its end."""
    bias = {str(braces(served)): 100}
    body = {"prompt": BEFORE, "max_tokens": 6, "temperature": 0, "logit_bias": bias} | fields
    (choice,) = served.client.post("/v1/completions", json=body).json()["choices"]
    return choice["text"], choice["finish_reason"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "}" * 6),
        ({"stop_at": "none", "language": "c"}, "}" * 6),
        ({"stop_at": "function", "language": "c"}, ENDS),
        ({"stop_at": "function", "language": "cpp", "path": "a.py"}, ENDS),
        ({"stop_at": "function", "path": "/home/me/a.c"}, ENDS),
        ({"stop_at": "function", "prompt": f"// language: c\n{BEFORE}"}, ENDS),
        ({"stop_at": "function", "prompt": FILE + BEFORE}, ENDS),
        ({"stop_at": "function", "prompt": f"{FILE}<|fim_prefix|>{BEFORE}<|fim_suffix|>\n<|fim_middle|>"}, ENDS),
        ({"stop_at": "function"}, "}" * 6),
        ({"stop_at": "function", "language": "plaintext"}, "}" * 6),
        ({"stop_at": "language", "language": "c", "stop": ["}}}"]}, ""),
    ],
)
def test_openais_requests_end_with_the_function(served: Served, fields: dict[str, Any], text: str) -> None:
    assert completed(served, **fields)[0] == text


def test_a_stream_joins_to_the_text_and_tokens_of_a_prompt_count_as_its_text(served: Served) -> None:
    ids = served.service.tokenizer(BEFORE)["input_ids"]
    assert completed(served, prompt=ids, stop_at="function", language="c") == (ENDS, "stop")
    bias = {str(braces(served)): 100}
    body = {"prompt": BEFORE, "max_tokens": 6, "temperature": 0, "logit_bias": bias, "stop_at": "function", "language": "c"}
    answer = served.client.post("/v1/completions", json=body | {"stream": True})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert "".join(each["choices"][0]["text"] for each in events) == ENDS


@pytest.mark.parametrize(
    ("names", "text"),
    [(["a.c"], ENDS), (["a.c", "b.c"], ENDS), (["a.c", "b.py"], "}" * 6), ([], "}" * 6)],
)
def test_files_around_tell_the_language_where_they_are_of_one(served: Served, names: list[str], text: str) -> None:
    extra = [{"filename": name, "text": "x"} for name in names]
    body = {"input_prefix": "", "prompt": BEFORE, "input_suffix": "", "input_extra": extra, "n_predict": 6, "temperature": 0}
    answer = served.post("/infill", **body, logit_bias=[[braces(served), 100]], stop_at="function")
    assert answer["content"] == text


def test_every_dialect_reads_them(served: Served) -> None:
    body = {"prompt": BEFORE, "stop_at": "function", "language": "c"}
    (one,) = mistral._read(Fields(body), served.service)
    found = ollama._read(Fields(body), served.service)
    assert found is not None and one.block == found[0].block == Function.at(BEFORE, "c")
    for path in ("/v1/completions", "/completion", "/v1/fim/completions", "/api/generate"):
        error = served.client.post(path, json={"prompt": "x", "stop_at": "end"})
        assert error.status_code == 400 and "stop_at must be one of language, block, function, none" in error.text


def test_the_server_has_a_default_that_a_request_overrides(served: Served) -> None:
    service = replace(served.service, stop="function", language="c")
    assert ending_of(Fields({}), service, BEFORE).block == Function.at(BEFORE, "c")
    assert ending_of(Fields({"path": "a.go"}), service, BEFORE).block == Function.at(BEFORE, "go")
    assert ending_of(Fields({"stop_at": "block"}), service, BEFORE).block == Block.at(BEFORE)
    assert ending_of(Fields({"stop_at": "language"}), service, BEFORE).texts == stops_of("c")
    assert ending_of(Fields({"stop_at": "none"}), service, BEFORE) == ((), None)


@pytest.mark.parametrize(
    ("prompt", "path"),
    [
        ("x = 1", ""),
        ("<file_sep>a.py\nx = 1", "a.py"),
        ("<repo_name>shop\n<file_sep>a.py\nx\n<file_sep>b.go\nfunc f", "b.go"),
        ("<|file_sep|>a.py\nx<|fim_prefix|>y<|fim_suffix|><|fim_middle|>", ""),
        ("<|file_sep|>a.py\nx<|file_sep|>b.rs\n<|fim_prefix|>y<|fim_suffix|><|fim_middle|>", "b.rs"),
        ("<repo_name>a.py", ""),
    ],
)
def test_the_path_of_the_current_file_stands_behind_the_last_mark(prompt: str, path: str) -> None:
    assert current_path(prompt) == path

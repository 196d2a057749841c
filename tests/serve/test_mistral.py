"""`/v1/fim/completions` is honoured as Mistral's reference says, or refused by name."""

import json
from typing import Any

import pytest

from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served

PATH = "/v1/fim/completions"
BODY = {"model": "codestral-latest", "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 12, "temperature": 0}


def test_the_answer_has_the_fields_of_mistral(served: Served) -> None:
    answer = served.post(PATH, **BODY)
    assert answer["object"] == "chat.completion" and answer["model"] == "tiny" and answer["id"]
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant" and choice["finish_reason"] in ("stop", "length")
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_stream_joins_to_the_text_and_says_the_usage_last(served: Served) -> None:
    answer = served.client.post(PATH, json=BODY | {"stream": True})
    *events, done = [event.removeprefix("data: ") for event in answer.text.split("\n\n") if event]
    assert done == "[DONE]"
    chunks = [json.loads(event) for event in events]
    whole = served.post(PATH, **BODY)
    assert "".join(each["choices"][0]["delta"]["content"] for each in chunks) == whole["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["usage"] == whole["usage"] and not any("usage" in each for each in chunks[:-1])
    assert len({each["id"] for each in chunks}) == 1


def test_a_seed_repeats_the_text(served: Served) -> None:
    hot = BODY | {"temperature": 1.0, "random_seed": 5}
    assert served.post(PATH, **hot)["choices"] == served.post(PATH, **hot)["choices"]


@pytest.mark.parametrize(
    "changes",
    [{"prompt": None}, {"min_tokens": 5}, {"n": 2}, {"temperature": 1e9}, {"stop": [5]}, {"suffix": 5}, {"stream": 1}],
)
def test_what_cannot_be_done_is_refused_by_name(served: Served, changes: dict[str, Any]) -> None:
    error = served.refused(400, PATH, **BODY | changes)
    assert error["param"] == next(iter(changes)) and error["type"] == "invalid_request_error"

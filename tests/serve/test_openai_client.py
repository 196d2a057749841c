"""The official client of OpenAI is served."""

from collections.abc import Iterator

import openai
import pytest

from tests.serve.conftest import Served

PROMPT = "import os\n\n\ndef list_files(path):"


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_completions_streamed_or_not_are_the_same(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="tiny", prompt=[PROMPT, "def g("], max_tokens=12, seed=4, n=2, temperature=0.8)
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    pieces = [""] * 4
    for chunk in client.completions.create(
        model="tiny", prompt=[PROMPT, "def g("], max_tokens=12, seed=4, n=2, temperature=0.8, stream=True
    ):
        for choice in chunk.choices:
            pieces[choice.index] += choice.text
    assert pieces == [choice.text for choice in whole.choices]


def test_logprobs_and_suffix_are_typed_as_it_knows_them(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt=PROMPT, suffix="\n\nx = 1\n", max_tokens=4, logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens and logprobs.token_logprobs and logprobs.top_logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset or [])


def test_errors_are_those_it_raises(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="n must be an integer from 1 to 16") as caught:
        client.completions.create(model="tiny", prompt="a", n=99)
    assert caught.value.param == "n"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    with pytest.raises(openai.InternalServerError) as refused:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "a"}])
    assert refused.value.status_code == 501


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]

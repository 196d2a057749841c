"""lm-eval scores the served model as it scores it in its own process."""

from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models import huggingface, openai_completions

from tests.conftest import python_sources
from tests.serve.conftest import CONTEXT, Served

# A decorator of lm-eval hides their types.
HFLM: Any = huggingface.HFLM
LocalCompletionsAPI: Any = openai_completions.LocalCompletionsAPI


@pytest.fixture(scope="module")
def in_process(served: Served) -> Any:
    model: Any = served.service.model
    return HFLM(pretrained=model, tokenizer=served.service.tokenizer, max_length=CONTEXT, device="cpu", batch_size=1)


@pytest.fixture(params=[1, 4])
def over_http(request: pytest.FixtureRequest, served: Served, model_folder: str) -> Any:
    address = f"{served.address}/v1/completions"
    options: dict[str, Any] = {
        "model": "tiny",
        "tokenizer": model_folder,
        "max_length": CONTEXT,
        "tokenizer_backend": "huggingface",
    }
    return LocalCompletionsAPI(base_url=address, batch_size=request.param, **options)


def instances(kind: Any, arguments: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, each, index, ("own", index, 1)) for index, each in enumerate(arguments)]


@pytest.mark.slow
def test_likelihoods_over_http_are_those_in_process(in_process: Any, over_http: Any, served: Served) -> None:
    sources = python_sources(6)
    pairs = [(text[:150], text[150:230]) for text in sources]
    pairs += [("def f(x):\n    return", choice) for choice in (" x", " 1", " None", "\n")]
    greedy = served.post("/v1/completions", prompt="def f(x):", max_tokens=3, temperature=0)["choices"][0]["text"]
    pairs += [("def f(x):", greedy), ("", "import os\n")]
    found = over_http.loglikelihood(instances("loglikelihood", pairs))
    expected = in_process.loglikelihood(instances("loglikelihood", pairs))
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-5, rel=1e-6)
    assert [is_greedy for _, is_greedy in found] == [is_greedy for _, is_greedy in expected]


@pytest.mark.slow
def test_perplexities_of_texts_longer_than_the_context_are_those_in_process(in_process: Any, over_http: Any) -> None:
    texts = [(text[:2500],) for text in python_sources(2)]
    # Its client keeps a token of the context free, and so reads other windows: the same ones are asked for here.
    in_process._max_length = over_http.max_length - 1
    try:
        expected = in_process.loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    finally:
        in_process._max_length = CONTEXT
    found = over_http.loglikelihood_rolling(instances("loglikelihood_rolling", texts))
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_generations_over_http_are_those_in_process(in_process: Any, over_http: Any) -> None:
    settings = {"until": ["\n\n", "class"], "max_gen_toks": 24, "do_sample": False, "temperature": 0.0}
    prompts = [(text[:120], dict(settings)) for text in python_sources(6)]
    found = over_http.generate_until(instances("generate_until", prompts))
    assert found == in_process.generate_until(instances("generate_until", prompts))

"""POST /v1/completions is honoured as OpenAI's clients mean it."""

from codeparrot.generation.complete import generate_completions
from tests.serve.conftest import Served

PATH = "/v1/completions"


def test_the_answer_has_the_fields_of_openai(served: Served) -> None:
    answer = served.post(PATH, model="tiny", prompt="def f(", max_tokens=4, temperature=0)
    assert answer["object"] == "text_completion" and answer["model"] == "tiny" and answer["id"].startswith("cmpl-")
    (choice,) = answer["choices"]
    assert choice["index"] == 0 and choice["finish_reason"] in ("length", "stop") and choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_greedy_text_is_that_of_the_command(served: Served) -> None:
    prompt = "import os\n\n\ndef list_files(path):"
    (expected,) = generate_completions(served.service.model, served.service.tokenizer, prompt, temperature=0, max_new_tokens=20)
    answer = served.post(PATH, prompt=prompt, max_tokens=20, temperature=0)
    assert answer["choices"][0]["text"].startswith(expected)

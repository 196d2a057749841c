"""POST /v1/completions is honoured as OpenAI's clients mean it."""

import json
from typing import Any

import pytest
import torch

from codeparrot.generation.complete import generate_completions
from tests.serve.conftest import CONTEXT, Served

PATH = "/v1/completions"
PROMPT = "import os\n\n\ndef list_files(path):"


def texts(answer: Any) -> list[str]:
    return [choice["text"] for choice in answer["choices"]]


def streamed(served: Served, **body: Any) -> list[Any]:
    """Return the chunks of a stream, whose last line must be [DONE]."""
    with served.client.stream("POST", PATH, json={**body, "stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_the_answer_has_the_fields_of_openai(served: Served) -> None:
    answer = served.post(PATH, model="tiny", prompt="def f(", max_tokens=4, temperature=0, user="me", unknown={"a": 1})
    assert answer["object"] == "text_completion" and answer["model"] == "tiny" and answer["id"].startswith("cmpl-")
    (choice,) = answer["choices"]
    assert choice["index"] == 0 and choice["finish_reason"] in ("length", "stop") and choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] <= usage["prompt_tokens"]


def test_greedy_text_is_that_of_the_command(served: Served) -> None:
    model, tokenizer = served.service.model, served.service.tokenizer
    (expected,) = generate_completions(model, tokenizer, PROMPT, temperature=0, max_new_tokens=20, stop=())
    (text,) = texts(served.post(PATH, prompt=PROMPT, max_tokens=20, temperature=0))
    assert text.rstrip() == expected


def test_the_index_of_a_choice_is_that_of_its_prompt_times_n_and_its_sample(served: Served) -> None:
    prompts = ["def f(", "import ", "class A"]
    together = served.post(PATH, prompt=prompts, n=2, seed=5, max_tokens=6)
    assert [choice["index"] for choice in together["choices"]] == list(range(6))
    alone = [text for prompt in prompts for text in texts(served.post(PATH, prompt=prompt, n=2, seed=5, max_tokens=6))]
    assert texts(together) == alone


def test_a_prompt_in_tokens_is_read_as_it_is(served: Served) -> None:
    ids = served.service.tokenizer("def f(x):\n    return x")["input_ids"]
    one = served.post(PATH, prompt=ids, max_tokens=5, temperature=0)
    assert one["usage"]["prompt_tokens"] == len(ids)
    assert texts(served.post(PATH, prompt=[ids, ids[:4]], max_tokens=5, temperature=0))[0] == texts(one)[0]


def test_tokens_that_fit_the_context_with_the_new_ones_are_all_read(served: Served) -> None:
    ids = [5 + number % 300 for number in range(CONTEXT - 3)]
    assert served.post(PATH, prompt=ids, max_tokens=3)["usage"]["prompt_tokens"] == len(ids)
    (choice,) = served.post(PATH, prompt=ids, max_tokens=1, echo=True, logprobs=1, temperature=0)["choices"]
    assert len(choice["logprobs"]["tokens"]) == len(ids) + 1


def test_a_seed_gives_the_same_bytes_whatever_runs_beside_it_and_none_draws_anew(served: Served) -> None:
    first = texts(served.post(PATH, prompt=PROMPT, seed=3, max_tokens=24, n=3))
    assert len(set(first)) > 1, "samples differ"
    assert texts(served.post(PATH, prompt=[PROMPT, "x = "], seed=3, max_tokens=24, n=3))[:3] == first
    assert len({texts(served.post(PATH, prompt=PROMPT, max_tokens=24))[0] for _ in range(4)}) > 1


def test_streamed_pieces_are_the_whole_text_and_the_last_says_why_it_ended(served: Served) -> None:
    body = {"prompt": [PROMPT, "def g("], "n": 2, "seed": 1, "max_tokens": 20, "echo": True}
    whole = served.post(PATH, **body)
    pieces, reasons = [""] * 4, [""] * 4
    for chunk in streamed(served, **body):
        (choice,) = chunk["choices"]
        assert isinstance(choice["text"], str)
        pieces[choice["index"]] += choice["text"]
        reasons[choice["index"]] = choice["finish_reason"]
    assert pieces == texts(whole)
    assert reasons == [choice["finish_reason"] for choice in whole["choices"]]


def test_usage_comes_last_where_it_was_asked_for(served: Served) -> None:
    *others, last = streamed(served, prompt=PROMPT, max_tokens=5, temperature=0, stream_options={"include_usage": True})
    assert all(each["usage"] is None for each in others)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] <= 5


def test_a_stop_text_ends_a_completion_before_it(served: Served) -> None:
    (text,) = texts(served.post(PATH, prompt=PROMPT, max_tokens=30, temperature=0))
    stop = text[5:7]
    answer = served.post(PATH, prompt=PROMPT, max_tokens=30, temperature=0, stop=[stop, "never there"])
    assert texts(answer) == [text[: text.index(stop)]] and answer["choices"][0]["finish_reason"] == "stop"
    assert (
        "".join(texts(chunk)[0] for chunk in streamed(served, prompt=PROMPT, max_tokens=30, temperature=0, stop=stop))
        == (text[: text.index(stop)])
    )


def reference(served: Served, ids: list[int]) -> torch.Tensor:
    """Log probabilities after each token of a sequence."""
    with torch.no_grad():
        return torch.log_softmax(served.service.model(torch.tensor([ids])).logits[0].float(), -1)


def test_echo_with_logprobs_gives_the_models_own_likelihoods(served: Served) -> None:
    ids = served.service.tokenizer("def add(a, b):\n    return a + b  # \u00e4\u20ac\n")["input_ids"]
    answer = served.post(PATH, prompt=ids, max_tokens=1, temperature=0, echo=True, logprobs=3)
    (choice,) = answer["choices"]
    logprobs, expected = choice["logprobs"], reference(served, ids)
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    assert len(logprobs["tokens"]) == len(logprobs["text_offset"]) == len(logprobs["top_logprobs"]) == len(ids) + 1
    for place, token in enumerate(ids[1:]):
        value, top = logprobs["token_logprobs"][place + 1], logprobs["top_logprobs"][place + 1]
        assert value == pytest.approx(float(expected[place, token]), abs=1e-5)
        assert max(top.values()) == pytest.approx(float(expected[place].max()), abs=1e-5)
        assert (value == max(top.values())) == (token == int(expected[place].argmax()))
        assert 3 <= len(top) <= 4


def test_offsets_say_where_tokens_lie_in_the_text(served: Served) -> None:
    prompt = "x = '\u00e4\u20ac' + y\n"
    (choice,) = served.post(PATH, prompt=prompt, max_tokens=8, temperature=0, echo=True, logprobs=0)["choices"]
    assert choice["text"].startswith(prompt)
    logprobs = choice["logprobs"]
    for name, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        if not name.startswith(("bytes:", "<|endoftext|>")) and "\ufffd" not in name:
            assert choice["text"][offset : offset + len(name)] == name


def test_logprobs_without_echo_are_those_of_new_tokens_and_change_no_text(served: Served) -> None:
    body = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    (choice,) = served.post(PATH, **body, logprobs=2)["choices"]
    assert [choice["text"]] == texts(served.post(PATH, **body))
    names = choice["logprobs"]["tokens"]
    assert len(names) in (12, 13)
    assert streamed_logprobs(served, **body, logprobs=2) == choice["logprobs"]
    # A stop text that begins with a whole token: neither has that token.
    stopping = {**body, "logprobs": 2, "stop": names[5] + names[6][:1]}
    (choice,) = served.post(PATH, **stopping)["choices"]
    assert choice["finish_reason"] == "stop" and len(choice["logprobs"]["tokens"]) < 12
    assert streamed_logprobs(served, **stopping) == choice["logprobs"]


def streamed_logprobs(served: Served, **body: Any) -> dict[str, list[Any]]:
    joined: dict[str, list[Any]] = {name: [] for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}
    for chunk in streamed(served, **body):
        for name, values in (chunk["choices"][0]["logprobs"] or {}).items():
            joined[name] += values
    return joined


def test_max_tokens_0_with_echo_is_the_prompt_and_its_likelihoods(served: Served) -> None:
    answer = served.post(PATH, prompt="def f(x):", max_tokens=0, echo=True, logprobs=1)
    (choice,) = answer["choices"]
    assert choice["text"] == "def f(x):" and choice["finish_reason"] == "length"
    assert len(choice["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"]
    assert answer["usage"]["completion_tokens"] == 0


def test_best_of_returns_the_likeliest_samples(served: Served) -> None:
    body = {"prompt": PROMPT, "max_tokens": 10, "seed": 2, "logprobs": 0}
    drawn = served.post(PATH, **body, n=6)["choices"]

    def mean(choice: Any) -> float:
        values = choice["logprobs"]["token_logprobs"]
        return sum(values) / len(values)

    best = served.post(PATH, **body, n=2, best_of=6)["choices"]
    assert [choice["text"] for choice in best] == [each["text"] for each in sorted(drawn, key=mean, reverse=True)[:2]]


def test_a_biased_token_is_written_and_a_forbidden_one_is_not(served: Served) -> None:
    tokenizer = served.service.tokenizer
    (token,) = tokenizer("x")["input_ids"]
    body = {"prompt": PROMPT + "\n    return", "max_tokens": 4, "temperature": 0}
    assert texts(served.post(PATH, **body, logit_bias={str(token): 100})) == ["xxxx"]
    (first,) = served.post(PATH, **body, logprobs=0)["choices"][0]["logprobs"]["tokens"][:1]
    banned = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(first))[0]
    again = served.post(PATH, **body, logprobs=0, logit_bias={str(banned): -100})["choices"][0]["logprobs"]["tokens"]
    assert again[0] != first


def test_penalties_make_repetition_rarer(served: Served) -> None:
    (token,) = served.service.tokenizer("x")["input_ids"]
    body = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "logit_bias": {str(token): 30}}
    plain = texts(served.post(PATH, **body))[0]
    penalised = texts(served.post(PATH, **body, frequency_penalty=2, presence_penalty=2))[0]
    assert penalised != plain and penalised.count("x") < plain.count("x")


def test_top_p_0_and_temperature_0_are_greedy(served: Served) -> None:
    greedy = texts(served.post(PATH, prompt=PROMPT, max_tokens=10, temperature=0))
    assert texts(served.post(PATH, prompt=PROMPT, max_tokens=10, top_p=0)) == greedy


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "a", "max_tokens": "many"}, "max_tokens"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "a", "max_tokens": 10**9}, "max_tokens"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "n": 17}, "n"),
        ({"prompt": "a", "n": True}, "n"),
        ({"prompt": "a", "n": 3, "best_of": 2}, "best_of"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ({"prompt": "a", "temperature": 1e-9}, "temperature"),
        ({"prompt": "a", "top_p": 1.5}, "top_p"),
        ({"prompt": "a", "seed": 2**64}, "seed"),
        ({"prompt": "a", "stop": [str(number) for number in range(17)]}, "stop"),
        ({"prompt": "a", "stop": [1]}, "stop"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": "a", "stream": "yes"}, "stream"),
        ({"prompt": "a", "echo": 1}, "echo"),
        ({"prompt": "a", "presence_penalty": 3}, "presence_penalty"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"99999": 1}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"0" * 20 + "9" * 5000: 1}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias.1"),
        ({"prompt": "a", "logit_bias": [1]}, "logit_bias"),
        ({"prompt": "a", "stream_options": {"include_usage": 3}}, "stream_options.include_usage"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [99999]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": ["a", [1]]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": "a\ud800"}, "prompt"),
        ({"prompt": [1, 2], "suffix": "a"}, "suffix"),
        ({"prompt": "a", "suffix": 3}, "suffix"),
        ({"prompt": [1] * CONTEXT, "echo": True, "logprobs": 1}, "prompt"),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_name(served: Served, body: dict[str, Any], param: str) -> None:
    answer = served.client.post(PATH, content=json.dumps(body))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param and error["type"] == "invalid_request_error" and "\n" not in error["message"]
    assert param.partition(".")[0] in error["message"] or "best_of" in error["message"]


def test_a_prompt_that_is_too_long_loses_its_head(served: Served) -> None:
    answer = served.post(PATH, prompt="x = 1\n" * 2000, max_tokens=5, temperature=0)
    assert answer["usage"]["prompt_tokens"] <= CONTEXT - 5


def test_a_suffix_is_filled_in(served: Served) -> None:
    answer = served.post(PATH, prompt="def f(x):\n    return ", suffix="\n\nprint(f(1))\n", max_tokens=8, temperature=0)
    tokenizer = served.service.tokenizer
    around = sum(len(tokenizer(part)["input_ids"]) for part in ("def f(x):\n    return ", "\n\nprint(f(1))\n"))
    assert 3 < answer["usage"]["prompt_tokens"] <= around + 3
    assert answer["usage"]["prompt_tokens"] > len(tokenizer("def f(x):\n    return ")["input_ids"])


def test_sentinels_in_a_prompt_of_text_mark_a_suffix(served: Served) -> None:
    body = {"max_tokens": 8, "temperature": 0}
    marked = "<|fim_prefix|>def f(x):\n    return <|fim_suffix|>\n\nprint(f(1))\n<|fim_middle|>"
    expected = served.post(PATH, **body, prompt="def f(x):\n    return ", suffix="\n\nprint(f(1))\n")
    for without in ({}, {"suffix": None}, {"suffix": ""}):
        found = served.post(PATH, **body, **without, prompt=marked)
        assert (texts(found), found["usage"]["prompt_tokens"]) == (texts(expected), expected["usage"]["prompt_tokens"])


def test_models_are_listed_and_one_is_found_by_its_name(served: Served) -> None:
    listed = served.client.get("/v1/models").json()
    assert [each["id"] for each in listed["data"]] == ["tiny"] and listed["object"] == "list"
    assert served.client.get("/v1/models/tiny").json() == listed["data"][0]
    assert served.client.get("/v1/models/other").status_code == 404


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_chats_are_not_there_and_one_line_says_so(served: Served, path: str) -> None:
    error = served.refused(501, path, messages=[])
    assert "/v1/completions" in error["message"]


def test_an_unknown_path_or_method_is_an_error_in_openais_form(served: Served) -> None:
    assert served.client.get("/nothing").json()["error"]["message"]
    assert served.client.get(PATH).status_code == 405


def test_metrics_count_what_was_done(served: Served) -> None:
    before = served.client.get("/metrics").text
    served.post(PATH, prompt=PROMPT, max_tokens=7, temperature=0)
    after = served.client.get("/metrics").text

    def value(text: str, name: str) -> float:
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))

    asked = 'codeparrot_requests_total{endpoint="/v1/completions",status="200"}'
    assert value(after, asked) == value(before, asked) + 1
    assert value(after, "codeparrot_prompt_tokens_total") > value(before, "codeparrot_prompt_tokens_total")
    assert 1 <= value(after, "codeparrot_new_tokens_total") - value(before, "codeparrot_new_tokens_total") <= 7
    assert value(after, "codeparrot_unfinished_requests") == 0

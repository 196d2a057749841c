"""`/completion`, `/infill`, `/props` and `/slots` do what llama.cpp documents, or refuse by name."""

import json
import threading
from typing import Any

import pytest

from codeparrot.serve import llama
from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served

PROMPT = "def f(a, b):\n    return a"


def content(served: Served, **body: Any) -> str:
    return served.post("/completion", **{"prompt": PROMPT, "n_predict": 12, "seed": 3} | body)["content"]


def streamed(served: Served, path: str, **body: Any) -> list[Any]:
    answer = served.client.post(path, json=body | {"stream": True})
    assert answer.status_code == 200, answer.text
    return [json.loads(event.removeprefix("data: ")) for event in answer.text.split("\n\n") if event]


def test_the_same_seed_gives_the_same_text_and_the_answer_names_a_drawn_one(served: Served) -> None:
    drawn = served.post("/completion", prompt=PROMPT, n_predict=12, seed=-1)
    assert content(served, seed=drawn["generation_settings"]["seed"]) == drawn["content"]
    assert len({content(served, seed=seed) for seed in range(8)}) > 1


def test_a_stream_joins_to_the_text_and_ends_with_all_that_is_said(served: Served) -> None:
    whole = served.post("/completion", prompt=PROMPT, n_predict=12, seed=3, return_tokens=True)
    *pieces, last = streamed(served, "/completion", prompt=PROMPT, n_predict=12, seed=3)
    assert "".join(each["content"] for each in pieces) == whole["content"]
    assert [token for each in pieces for token in each["tokens"]] == whole["tokens"]
    assert (last["content"], last["tokens"], last["stop"]) == ("", [], True)
    assert last["tokens_predicted"] == whole["tokens_predicted"]


def test_several_prompts_and_samples_are_an_array_in_order(served: Served) -> None:
    found = served.post("/completion", prompt=[PROMPT, "x = "], n_cmpl=2, n_predict=4, seed=3)
    assert [each["index"] for each in found] == [0, 1, 2, 3]
    assert found[0]["content"] == content(served, n_predict=4)
    assert len({each["prompt"] for each in found}) == 2
    events = streamed(served, "/completion", prompt=[PROMPT, "x = "], n_predict=4, seed=3)
    assert sorted(each["index"] for each in events if each["stop"]) == [0, 1]


def test_tokens_and_texts_may_make_a_prompt_together(served: Served) -> None:
    ids = served.post("/tokenize", content=PROMPT)["tokens"]
    whole = content(served, prompt=ids, temperature=0)
    assert content(served, prompt=[*ids[:3], served.post("/detokenize", tokens=ids[3:])["content"]], temperature=0) == whole
    assert content(served, prompt={"prompt_string": PROMPT}) == content(served)


def test_a_stop_text_ends_it_and_is_named(served: Served) -> None:
    text = content(served)
    word = text[2:4]
    answer = served.post("/completion", prompt=PROMPT, n_predict=12, seed=3, stop=["never", word, ""])
    assert answer["content"] == text[: text.index(word)]
    assert (answer["stop_type"], answer["stopping_word"]) == ("word", word)


def test_a_field_inside_a_field_is_asked_for_by_its_path(served: Served) -> None:
    wanted = ["content", "generation_settings/n_predict", "timings/none", "none", "content/inside", ""]
    answer = served.post("/completion", prompt=PROMPT, n_predict=2, response_fields=wanted)
    assert list(answer) == ["content", "generation_settings/n_predict"]
    assert answer["generation_settings/n_predict"] == 2


def test_probabilities_are_given_for_each_token(served: Served) -> None:
    answer = served.post("/completion", prompt=PROMPT, n_predict=4, temperature=0, n_probs=3)
    found = answer["completion_probabilities"]
    assert len(found) == len(served.post("/tokenize", content=answer["content"])["tokens"]) or found
    for each in found:
        likely = each["top_logprobs"]
        assert len(likely) == 3 and each["logprob"] <= likely[0]["logprob"] <= 0.0
        assert [one["logprob"] for one in likely] == sorted((one["logprob"] for one in likely), reverse=True)
        assert bytes(likely[0]["bytes"]).decode() == likely[0]["token"]
    *pieces, _ = streamed(served, "/completion", prompt=PROMPT, n_predict=4, temperature=0, n_probs=3)
    assert [one for each in pieces for one in each["completion_probabilities"]] == found


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 2.0, "top_k": 1},
        {"temperature": 2.0, "min_p": 1.0},
        {"temperature": -1.0},
        {"temperature": 2.0, "top_p": 0.0},
        {"temperature": 2.0, "samplers": ["top_k"], "top_k": 1},
        {"temperature": 2.0, "samplers": "k", "top_k": 1},
    ],
)
def test_what_leaves_the_likeliest_token_alone_is_greedy(served: Served, changes: dict[str, Any]) -> None:
    assert content(served, **changes) == content(served, temperature=0)


def test_options_of_samplers_that_are_not_named_have_no_effect(served: Served) -> None:
    named = {"samplers": ["temperature"], "temperature": 1.0}
    assert content(served, **named, top_k=1, min_p=1.0, xtc_probability=0.5) == content(served, **named)
    settings = served.post("/completion", prompt=PROMPT, n_predict=1, **named, top_k=1)["generation_settings"]
    assert (settings["top_k"], settings["samplers"]) == (0, ["temperature"])


def test_biases_and_penalties_are_honoured(served: Served) -> None:
    (token,) = served.post("/completion", prompt=PROMPT, n_predict=1, temperature=0, return_tokens=True)["tokens"][-1:]
    for bias in ([[token, False]], {str(token): -1000.0}, [[token, -1000]]):
        other = served.post("/completion", prompt=PROMPT, n_predict=1, temperature=0, return_tokens=True, logit_bias=bias)
        assert other["tokens"][-1] != token
    wanted = served.post("/tokenize", content="q")["tokens"]
    assert content(served, logit_bias=[["q", 100.0]], temperature=0, heal=False).count("q") > 5
    assert len(wanted) == 1
    assert content(served, logit_bias=[["q", 100.0]], temperature=0, frequency_penalty=2.0, n_predict=60) != "q" * 60


def test_without_end_tokens_it_goes_on_to_the_limit(served: Served) -> None:
    end = served.service.tokenizer.eos_token_id
    eager = [[end, 1000.0]]
    assert served.post("/completion", prompt=[5, 6], n_predict=6, logit_bias=eager)["stop_type"] == "eos"
    answer = served.post("/completion", prompt=[5, 6], n_predict=6, ignore_eos=True)
    assert (answer["stop_type"], answer["tokens_predicted"]) == ("limit", 6)


def test_no_limit_ends_with_the_context(served: Served) -> None:
    answer = served.post("/completion", prompt=[5, 6], n_predict=-1, ignore_eos=True)
    assert answer["tokens_evaluated"] + answer["tokens_predicted"] == served.service.context
    assert answer["truncated"] is True


def test_a_prompt_that_lost_text_is_truncated(served: Served) -> None:
    for prompt, lost in (("x = 1\n" * 400, True), ("x = 1\n", False)):
        assert served.post("/completion", prompt=prompt, n_predict=4)["truncated"] is lost
        assert served.post("/infill", input_prefix=prompt, input_suffix=SUFFIX, n_predict=0)["truncated"] is lost


@pytest.mark.parametrize(
    "changes",
    [
        {"grammar": "root ::= [0-9]"},
        {"json_schema": {}},
        {"mirostat": 1},
        {"dry_multiplier": 0.8},
        {"xtc_probability": 0.5},
        {"typical_p": 0.5},
        {"dynatemp_range": 0.5},
        {"lora": [{"id": 0, "scale": 1.0}]},
        {"samplers": ["top_k", "unknown"]},
        {"samplers": "kz"},
        {"n_cmpl": 1000},
        {"n_predict": "many"},
        {"n_probs": 10_000},
        {"top_p": 1.5},
        {"seed": 2**64},
        {"seed": "one"},
        {"stop": [1]},
        {"logit_bias": [[10**6, 1.0]]},
        {"logit_bias": [[5, "x"]]},
        {"logit_bias": "5"},
        {"logit_bias": [[True, 1.0]]},
        {"logit_bias": [["\ud800", 1.0]]},
        {"logit_bias": {"\ud800": 1.0}},
        {"response_fields": [5]},
        {"prompt": [10**6]},
        {"prompt": [[1, None]]},
        {"prompt": []},
        {"prompt": 5},
        {"prompt": {"prompt_string": "a", "multimodal_data": ["AAAA"]}},
        {"prompt": "\ud800"},
        {"prompt": ["a", "\ud800", 5]},
        {"prompt": None},
    ],
)
def test_what_cannot_be_done_is_refused_by_name_in_llamas_shape(served: Served, changes: dict[str, Any]) -> None:
    body = json.dumps({"prompt": PROMPT, "n_predict": 2} | changes)
    answer = served.client.post("/completion", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (400, 400, "invalid_request_error")
    assert next(iter(changes)) in error["message"] and "\n" not in error["message"]


@pytest.mark.parametrize(
    "changes", [{"dry_multiplier": 0.0, "grammar": "", "mirostat": 0, "typical_p": 1, "lora": []}, {"n_keep": 8}]
)
def test_options_that_ask_for_nothing_are_accepted(served: Served, changes: dict[str, Any]) -> None:
    assert content(served, **changes) == content(served)


@pytest.mark.parametrize("missing", ["input_prefix", "input_suffix"])
def test_infill_needs_both_sides(served: Served, missing: str) -> None:
    body = {"input_prefix": PREFIX, "input_suffix": SUFFIX}
    del body[missing]
    assert missing in served.refused(400, "/infill", **body)["message"]


@pytest.mark.parametrize("extra", ["text", [5], [{"filename": "a.py"}], [{"text": 5}], [{"text": "a", "filename": 5}]])
def test_other_files_are_objects_with_a_text(served: Served, extra: Any) -> None:
    error = served.refused(400, "/infill", input_prefix="", input_suffix="", input_extra=extra)
    assert "input_extra" in error["message"]


def test_other_files_go_first_where_the_context_is_short(served: Served) -> None:
    long = "x = 1\n" * 400
    answer = served.post("/infill", input_prefix=PREFIX, input_suffix=SUFFIX, input_extra=[{"text": long}], n_predict=4)
    assert answer["prompt"].startswith("<fim_prefix>") and answer["prompt"].count("<fim_suffix>") == 1
    assert "def size_of" in answer["prompt"] and "return total" in answer["prompt"]


def test_props_have_what_clients_read(served: Served) -> None:
    props = served.client.get("/props").json()
    assert props["default_generation_settings"]["n_ctx"] == served.service.context
    assert props["default_generation_settings"]["params"]["temperature"] == 0.8
    assert props["total_slots"] == 8 and props["model_alias"] == "tiny"
    assert props["eos_token"] == served.service.tokenizer.eos_token


def test_slots_are_free_when_nobody_asks(served: Served) -> None:
    slots = served.client.get("/slots?fail_on_no_slot=1").json()
    assert len(slots) == 8 and not any(slot["is_processing"] for slot in slots)


def test_a_model_that_loads_says_so_in_llamas_shape(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.service, "state", "loading")
    for path in ("/props", "/slots", "/tokenizer_info"):
        answer = served.client.get(path)
        assert answer.status_code == 503 and answer.json()["error"]["type"] == "unavailable_error"
    assert served.refused(503, "/infill", input_prefix="", input_suffix="")["code"] == 503


def test_health_is_answered_while_texts_between_tokens_are_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go, found = threading.Event(), threading.Event(), []

    def slow(*_: object) -> list[int]:
        reading.set()
        assert go.wait(60)
        return [5]

    monkeypatch.setattr(llama, "_ids", slow)
    body = {"prompt": [5, "x"], "n_predict": 1}
    asking = threading.Thread(target=lambda: found.append(served.post("/completion", **body)))
    asking.start()
    assert reading.wait(60)
    assert served.client.get("/health", timeout=20).status_code == 200
    go.set()
    asking.join(60)
    assert found[0]["tokens_evaluated"] == 2

"""llama.vscode posts to /infill with axios and reads one JSON object."""

from typing import Any

import pytest

from tests.serve.clients.typing_in import LINE, LINES_BEFORE, LINES_BEHIND, OTHER
from tests.serve.conftest import Served

CHUNKS = [{"text": OTHER, "time": 1764424800000, "filename": "src/small.py"}]


def request(prompt: str = LINE, **more: Any) -> dict[str, Any]:
    return {
        "input_prefix": "\n".join(LINES_BEFORE) + "\n",
        "input_suffix": "\n" + "\n".join(LINES_BEHIND) + "\n",
        "input_extra": CHUNKS,
        "prompt": prompt,
        "n_predict": 12,
        "top_k": 40,
        "top_p": 0.99,
        "stream": False,
        "samplers": ["top_k", "top_p", "infill"],
        "cache_prompt": True,
        "n_indent": 4,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 2500,
        **more,
    }


def warm_up() -> dict[str, Any]:
    return {
        "input_prefix": "",
        "input_suffix": "",
        "input_extra": CHUNKS,
        "prompt": "",
        "n_predict": 0,
        "samplers": [],
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1,
    }


def test_a_completion_has_what_the_status_bar_shows(served: Served) -> None:
    answer = served.post("/infill", **request())
    assert isinstance(answer["content"], str)
    assert answer["truncated"] is False
    assert answer["generation_settings"]["n_ctx"] == served.service.context
    assert answer["tokens_cached"] > 0
    timings = answer["timings"]
    assert timings["predicted_n"] <= 12
    for name in ("prompt_n", "prompt_ms", "prompt_per_second", "predicted_ms", "predicted_per_second"):
        assert timings[name] >= 0


def test_the_cursor_stands_behind_the_line_and_other_files_in_front(served: Served) -> None:
    read = served.post("/infill", **request(n_predict=0))["prompt"]
    tokenizer = served.service.tokenizer
    assert read.startswith(OTHER + tokenizer.eos_token + "<fim_prefix>import os")
    # Healing may take the beginning of a word back from the line.
    before, _, behind = read.removesuffix("<fim_middle>").partition("<fim_suffix>")
    assert LINE.startswith(before.rsplit("\n", 1)[1])
    assert behind == "\n" + "\n".join(LINES_BEHIND) + "\n"


def test_warming_the_cache_reads_other_files_and_answers_no_text(served: Served) -> None:
    answer = served.post("/infill", **warm_up())
    assert (answer["content"], answer["tokens_predicted"], answer["stop_type"]) == ("", 0, "limit")
    assert answer["prompt"].startswith(OTHER)


def test_a_line_of_white_space_begins_at_its_beginning(served: Served) -> None:
    answer = served.post("/infill", **request(prompt=""))
    assert isinstance(answer["content"], str)


def test_several_completions_are_an_array(served: Served) -> None:
    found = served.post("/infill", **request(n_cmpl=3))
    assert [each["index"] for each in found] == [0, 1, 2]
    assert all(isinstance(each["content"], str) for each in found)


def test_adapters_that_are_not_there_are_refused(served: Served) -> None:
    error = served.refused(400, "/infill", **request(lora=[{"id": 0, "scale": 0.5}]))
    assert error["code"] == 400 and "lora" in error["message"]


def test_at_the_end_of_a_file_a_model_without_middles_goes_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.service, "why_not", "it has not learned that")
    served.post("/infill", **request(input_suffix="\n\n"))
    error = served.refused(400, "/infill", **request())
    assert error == {"code": 400, "message": "it has not learned that", "type": "invalid_request_error"}

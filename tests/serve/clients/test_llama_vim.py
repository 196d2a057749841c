"""llama.vim posts to /infill with curl, and reads each line of the answer as JSON of its own."""

import json
from typing import Any

from tests.serve.clients.typing_in import LINE, LINES_BEFORE, LINES_BEHIND, OTHER
from tests.serve.conftest import Served

TIMINGS = [f"timings/{part}_{what}" for part in ("prompt", "predicted") for what in ("n", "ms", "per_token_ms", "per_second")]
FIELDS = ["content", *TIMINGS, "truncated", "tokens_cached"]


def ask(served: Served, **more: Any) -> Any:
    body = {
        "id_slot": 0,
        "input_prefix": "\n".join(LINES_BEFORE) + "\n",
        "input_suffix": "\n" + "\n".join(LINES_BEHIND) + "\n",
        "input_extra": [{"text": OTHER, "time": [123, 456], "filename": "small.py"}],
        "prompt": LINE,
        "n_predict": 12,
        "stop": [],
        "n_indent": 4,
        "top_k": 40,
        "top_p": 0.99,
        "samplers": ["top_k", "top_p", "infill"],
        "stream": False,
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000,
        "response_fields": FIELDS,
    } | more
    headers = {"Content-Type": "application/json", "Authorization": "Bearer"}  # the plugin's empty key
    answer = served.client.post("/infill", content=json.dumps(body), headers=headers)
    assert answer.status_code == 200, answer.text
    (line,) = answer.text.split("\n")  # vim calls back once a line
    return json.loads(line)


def test_the_answer_has_the_wanted_fields_under_their_paths(served: Served) -> None:
    answer = ask(served)
    assert list(answer) == FIELDS
    assert isinstance(answer["content"], str) and answer["truncated"] is False
    for name in TIMINGS:
        # printf("%d") and printf("%.2f") read them.
        assert isinstance(answer[name], int if name.endswith("_n") else float)


def test_warming_the_cache_is_not_cut_off_and_answers_nothing(served: Served) -> None:
    warm = {"input_prefix": "", "input_suffix": "", "prompt": "", "n_predict": 0, "temperature": 0.0, "samplers": []}
    assert ask(served, **warm, t_max_prompt_ms=1, t_max_predict_ms=1, response_fields=[""]) == {}


def test_the_indentation_of_the_line_ends_the_completion(served: Served) -> None:
    for seed in range(20):
        content = ask(served, seed=seed, n_predict=40)["content"]
        lines = content.split("\n")[1:]
        assert all(line.startswith("    ") or not line.strip() for line in lines), content

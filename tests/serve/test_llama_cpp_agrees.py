"""llama.cpp's own server, on the same model, answers the same fields and the same greedy text."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codeparrot.cli import main
from tests.export.models import LlamaCpp, llama_cpp
from tests.serve.clients.typing_in import PREFIX, SUFFIX
from tests.serve.conftest import Served

pytestmark = pytest.mark.slow
INFILL = {"input_prefix": PREFIX, "input_suffix": SUFFIX, "n_predict": 4, "temperature": 0}
OTHERS = {
    *("chat_format", "reasoning_format", "reasoning_in_content", "generation_prompt", "preserved_tokens"),
    *("grammar_lazy", "grammar_triggers", "speculative.types", "backend_sampling"),
}
"""Settings of chats, grammars and drafts, and of how llama.cpp computes."""


@pytest.fixture(scope="module")
def theirs(model_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCpp]:
    file = tmp_path_factory.mktemp("exported") / "tiny.gguf"
    assert main(["export", "--checkpoint", model_folder, "--output", str(file), "--type", "f32"]) == 0
    with llama_cpp(Path(file)) as server:
        yield server


def same_shape(ours: Any, theirs: Any, at: str = "") -> list[str]:
    """Return what theirs has and ours lacks, or has of another type."""
    if isinstance(theirs, dict):
        missing = [f"{at}/{name}" for name in theirs if name not in ours and name not in OTHERS]
        both = [name for name in theirs if name in ours]
        return missing + [each for name in both for each in same_shape(ours[name], theirs[name], f"{at}/{name}")]
    numbers = isinstance(ours, int | float) and isinstance(theirs, int | float)
    return [] if type(ours) is type(theirs) or numbers else [f"{at}: {type(ours)} for {type(theirs)}"]


@pytest.mark.parametrize("changes", [{}, {"n_probs": 2}, {"n_predict": 0}, {"stop": ["e"]}])
def test_infill_answers_the_same_fields(served: Served, theirs: LlamaCpp, changes: dict[str, Any]) -> None:
    assert same_shape(served.post("/infill", **INFILL | changes), theirs("/infill", **INFILL | changes)) == []


def test_it_reads_the_same_sentinels_around_the_same_texts(served: Served, theirs: LlamaCpp) -> None:
    # llama.cpp heals nothing: a prefix that ends with a whole token is read alike.
    around = {"input_prefix": "import os\n\n", "input_suffix": "\nprint(os)\n", "n_predict": 1}
    assert served.post("/infill", **around)["prompt"].replace("\n", "") == theirs("/infill", **around)["prompt"].replace(
        "\n", ""
    )


def test_a_stream_answers_the_same_fields(served: Served, theirs: LlamaCpp) -> None:
    body = {"prompt": [5, 6, 7], "n_predict": 3, "temperature": 0, "stream": True, "timings_per_token": True}
    ours = served.client.post("/completion", json=body).text
    request = urllib.request.Request(theirs._address + "/completion", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        other = answer.read().decode()
    read = [[json.loads(event[6:]) for event in text.strip().split("\n\n") if event] for text in (ours, other)]
    assert same_shape(read[0][0], read[1][0]) == [] and same_shape(read[0][-1], read[1][-1]) == []


def test_greedy_text_behind_tokens_is_the_same(served: Served, theirs: LlamaCpp) -> None:
    body = {"prompt": [90, 5, 44], "n_predict": 6, "temperature": 0, "return_tokens": True}
    assert served.post("/completion", **body)["tokens"] == theirs("/completion", **body)["tokens"]


def test_tokens_are_the_same(served: Served, theirs: LlamaCpp) -> None:
    for text in (PREFIX, "é🙂 \t<fim_prefix>"):
        for special in (True, False):
            body = {"content": text, "parse_special": special, "with_pieces": True}
            assert served.post("/tokenize", **body) == theirs("/tokenize", **body)


def test_errors_have_the_same_shape(served: Served, theirs: LlamaCpp) -> None:
    request = urllib.request.Request(theirs._address + "/infill", b'{"input_prefix": ""}')
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    error = json.loads(caught.value.read())["error"]
    ours = served.refused(caught.value.code, "/infill", input_prefix="")
    assert same_shape(ours, error) == [] and ours["type"] == error["type"]
